// The directory that a store lives in.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace rocksdb {
class Env;
class FileLock;
}  // namespace rocksdb

namespace muster::storage {

// UNAVAILABLE (STORAGE_UNUSABLE): "data directory /x: permission denied".
absl::Status UnusableDirectory(const std::filesystem::path& dir, std::string_view why);

// Creates `dir` with mode 0700 when it isn't there, its parents with the usual mode, durably.
absl::Status CreateDataDir(const std::filesystem::path& dir);

// Makes the entries of `dir` durable.
absl::Status SyncDirectory(const std::filesystem::path& dir);

// DATA_LOSS when `dir` has files of a store but not the one that names the others: opening it
// would begin an empty store beside them.
absl::Status CheckWhole(const std::filesystem::path& dir);

// The lock that an open database holds, for work on the directory beside it. `env` null: the
// system's. UNAVAILABLE (STORAGE_UNUSABLE) when another one has it.
class DataDirLock {
 public:
  static absl::StatusOr<DataDirLock> Take(const std::string& dir, rocksdb::Env* env);
  DataDirLock(DataDirLock&& other) noexcept;
  DataDirLock& operator=(DataDirLock&&) = delete;
  ~DataDirLock();

 private:
  DataDirLock(rocksdb::Env& env, rocksdb::FileLock* lock) : env_(env), lock_(lock) {}
  rocksdb::Env& env_;
  rocksdb::FileLock* lock_;
};

}  // namespace muster::storage

// The directory that a store lives in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace muster::storage {

// UNAVAILABLE (STORAGE_UNUSABLE): "data directory /x: permission denied".
absl::Status UnusableDirectory(const std::filesystem::path& dir, std::string_view why);

// Creates `dir` with mode 0700 when it isn't there, its parents with the usual mode, durably.
absl::Status CreateDataDir(const std::filesystem::path& dir);

// Makes the entries of `dir` durable.
absl::Status SyncDirectory(const std::filesystem::path& dir);

// A file of at most `limit` bytes; nullopt when there is none. UNAVAILABLE, "can't read CURRENT: it
// is no file", for what can't be read, is larger, or is no file: reading that might never end.
absl::StatusOr<std::optional<std::string>> ReadSmallFile(const std::filesystem::path& file,
                                                         size_t limit);

enum class Wholeness : uint8_t {
  kWhole,  // as far as names tell
  kNoLog,  // there are tables, but no log, which holds the latest writes
};
// DATA_LOSS when `dir` has files of a store, or a restore left some, but not the one that names the
// others: opening it would begin an empty store beside them.
absl::StatusOr<Wholeness> LookAt(const std::filesystem::path& dir);

// What a restore builds in the directory begins so.
inline constexpr char kRestorePrefix[] = ".restore-";

// The file that says that a salvage was begun and not finished.
std::filesystem::path SalvageMark(const std::filesystem::path& dir);

// Whoever works on a data directory holds it. It is on the directory itself (flock), so that nobody
// can delete it as a file that looks forgotten, and ends with the process.
class DataDirLock {
 public:
  // UNAVAILABLE (STORAGE_UNUSABLE) when another one has it, or the directory isn't there.
  static absl::StatusOr<DataDirLock> Take(const std::string& dir);
  DataDirLock(DataDirLock&& other) noexcept;
  DataDirLock& operator=(DataDirLock&& other) noexcept;
  ~DataDirLock();

  // Whether the directory's name still means the one that is locked. What can't be looked at is.
  bool InPlace() const;
  // A path to the locked one, whatever became of its name: nobody who uses it gets into another
  // directory. As long as this lives, and in this process.
  std::string path() const;
  // Messages about path() say the name instead.
  std::string Named(std::string text) const;
  absl::Status Named(const absl::Status& status) const;

 private:
  DataDirLock(std::string dir, int fd) : dir_(std::move(dir)), fd_(fd) {}
  std::string dir_;
  int fd_ = -1;
};

// Before a database is opened: creates the directory, locks it, refuses what is no whole store and
// mends what a power cut tore. `salvaging`: a store without logs, or whose salvage stopped halfway,
// is taken. Errors: of the above; DATA_LOSS (STORAGE_DAMAGED).
absl::StatusOr<DataDirLock> PrepareDataDir(const std::filesystem::path& dir, bool salvaging);

}  // namespace muster::storage

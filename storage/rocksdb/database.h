// A RocksDB database with muster's column families: opening, reading, one synced write per group.
//
// Thread safety: Read, TakeSnapshot and MissingPart from any thread; the rest from one thread.
// Ownership: snapshots keep the database open.
// Errors: UNAVAILABLE (STORAGE_UNUSABLE), DATA_LOSS (STORAGE_DAMAGED), FAILED_PRECONDITION
// (FORMAT_NEWER).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "storage/engine.h"
#include "storage/rocksdb/data_dir.h"
#include "storage/rocksdb/open_files.h"
#include "storage/strand.h"

namespace rocksdb {
class ColumnFamilyHandle;
class DB;
class Env;
class WriteBatch;
}  // namespace rocksdb

namespace muster::storage {

class LogLedger;

struct DatabaseOptions {
  std::string data_dir;  // created, readable by its owner alone, when it doesn't exist
  bool sync = true;      // false: a write survives the process, not the machine
  size_t write_buffer_bytes = 64 << 20;  // of all families together
  size_t block_cache_bytes = 64 << 20;
  int max_open_files = kRocksDbOpenFiles;
  rocksdb::Env* env = nullptr;  // files and threads of a test; null: the system's
  bool salvaging = false;       // as PrepareDataDir
};

class Database : public std::enable_shared_from_this<Database>, public GroupStore {
 public:
  static absl::StatusOr<std::shared_ptr<Database>> Open(const DatabaseOptions& options);
  ~Database() override;
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  struct Identity {
    StoreRecordView record;
    uint64_t seq = 0;  // of the last commit
  };
  // nullopt for a database without any key.
  absl::StatusOr<std::optional<Identity>> Load() const;
  // Writes meta/store and meta/seq, synced.
  absl::Status WriteIdentity(const StoreRecordView& record);

  absl::StatusOr<std::optional<std::string>> Read(Family family,
                                                  std::string_view key) const override;
  // Also writes the last commit's seq to meta/seq, in the same batch. UNAVAILABLE (STORAGE_FULL),
  // with nothing written, while stopped_by_full_disk().
  absl::Status Write(absl::Span<const Commit> commits) override;
  absl::StatusOr<std::unique_ptr<Snapshot>> TakeSnapshot(uint64_t epoch) const;

  // The database found no space for a table, and takes no writes. From any thread.
  bool stopped_by_full_disk() const;
  // What of the store's files is gone since it was opened, by whatever hand; "" = nothing that can
  // be seen. Cost: some calls of the system.
  std::string MissingPart() const;
  // The directory's name still means the one that is open.
  bool in_place() const { return lock_.InPlace(); }
  // Notes what the logs hold (LogLedger). From any thread.
  absl::Status NoteLogs();
  // Tries once more; writes are taken again on OK. May take as long as writing a table does.
  absl::Status Resume();

 private:
  class Watcher;
  Database(const DatabaseOptions& options, DataDirLock lock);
  absl::StatusOr<bool> Empty() const;

  const std::string data_dir_;
  const bool sync_;
  const DataDirLock lock_;                            // until the database is closed
  const std::string path_;                            // whatever becomes of the directory's name
  const std::unique_ptr<rocksdb::WriteBatch> batch_;  // of the thread that writes
  // Constant after Open.
  std::unique_ptr<LogLedger> ledger_;
  std::shared_ptr<Watcher> watcher_;
  std::unique_ptr<rocksdb::DB> db_;
  std::array<rocksdb::ColumnFamilyHandle*, kFamilyCount + 1> handles_{};  // the last: "default"
};

}  // namespace muster::storage

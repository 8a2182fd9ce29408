// The engine of one machine: a store in a directory, through RocksDB.
//
//   RocksDbEngine engine({.data_dir = "/var/lib/muster", .clock = clock, .rng = rng});
//   absl::Status opened = engine.Open({&catalog});
//
// Group commit: all units that wait share one write and one sync. A directory belongs to one open
// engine at a time. Copying its files while the engine runs gives no usable store: make a backup.
//
// Thread safety, errors: as Engine. Snapshots keep the directory in use.
// Cost: memory bounded by write_buffer_bytes + block_cache_bytes and the limits of the queue.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/rng.h"
#include "storage/engine.h"
#include "storage/rocksdb/open_files.h"
#include "storage/rocksdb/space_guard.h"
#include "storage/strand.h"

namespace rocksdb {
class Env;
}

namespace muster::storage {

class Database;

struct RocksDbOptions {
  std::string data_dir;  // created, readable by its owner alone, when it doesn't exist
  const base::Clock& clock;
  base::Rng& rng;
  bool sync = true;  // false: an acknowledged write survives the process, not the machine
  size_t write_buffer_bytes = 64 << 20;
  size_t block_cache_bytes = 64 << 20;
  int max_open_files = kRocksDbOpenFiles;  // of tables; at least 20
  uint64_t min_free_bytes = 0;  // below it users' writes are refused; 0 = the disk isn't watched
  uint64_t reserve_bytes = 0;   // a file that is given up for deletions on a full disk; 0 = none
  // So often Tend notes what the logs hold: what is written later may be lost unnoticed when
  // somebody cuts one.
  absl::Duration note_logs_every = absl::Seconds(10);
  EngineLimits limits{};
  rocksdb::Env* env = nullptr;  // files and threads of a test; null: the system's
};

class RocksDbEngine : public Engine, private GroupStore {
 public:
  explicit RocksDbEngine(const RocksDbOptions& options);
  ~RocksDbEngine() override;

  absl::Status Open(std::vector<CommitSink*> sinks) override;
  void Propose(Batch batch, WriteClass write_class, Done done) override;
  // UNAVAILABLE before Open and after Close.
  absl::StatusOr<std::string> Get(Family family, std::string_view key) const override;
  absl::StatusOr<std::unique_ptr<Snapshot>> GetSnapshot() const override;
  Revision revision() const override { return strand_.revision(); }
  size_t max_unit_ops() const override { return strand_.limits().max_unit_ops; }
  size_t max_unit_bytes() const override { return strand_.limits().max_unit_bytes; }
  EngineStats Stats() const override { return strand_.Stats("rocksdb"); }
  void Tend() override;
  void Close() override;

 private:
  absl::StatusOr<std::optional<std::string>> Read(Family family,
                                                  std::string_view key) const override;
  absl::Status Write(absl::Span<const Commit> commits) override;
  absl::StatusOr<std::shared_ptr<Database>> OpenDatabase() const;
  // Takes no more writes once they would go into files that nobody finds again.
  void LookForFiles(const Database& database);
  void NoteLogs(Database& database);

  const RocksDbOptions options_;
  mutable base::Mutex mu_;
  std::shared_ptr<Database> db_ MUSTER_GUARDED_BY(mu_);
  SpaceGuard space_;                // Tend's thread
  base::SteadyTime next_resume_{};  // as well
  base::SteadyTime next_look_{};    // as well
  bool files_missing_ = false;      // as well: when they were last looked for
  base::SteadyTime next_note_{};    // as well
  bool note_failed_ = false;        // as well
  Strand strand_;                   // last: its thread uses the others
};

}  // namespace muster::storage

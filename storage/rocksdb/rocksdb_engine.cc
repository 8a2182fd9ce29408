#include "storage/rocksdb/rocksdb_engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/log.h"
#include "storage/replay.h"
#include "storage/rocksdb/database.h"
#include "storage/store_record.h"

namespace muster::storage {
namespace {

using base::MutexLock;

// What others do to the files is looked at this often.
constexpr absl::Duration kLookEvery = absl::Seconds(1);
// A database that a full disk stopped is asked this often whether it can go on.
constexpr absl::Duration kResumeEvery = absl::Seconds(1);

// The store's identity; a new one for a new store.
absl::StatusOr<Database::Identity> LoadOrCreate(Database& database, const base::Clock& clock,
                                                base::Rng& rng) {
  auto identity = database.Load();
  if (!identity.ok()) return identity.status();
  if (*identity) return **identity;
  const StoreRecordView record = NewStoreRecord(clock, rng, /*last_seq=*/0);
  if (absl::Status status = database.WriteIdentity(record); !status.ok()) return status;
  return Database::Identity{record, record.base_seq};
}

}  // namespace

RocksDbEngine::RocksDbEngine(const RocksDbOptions& options)
    : options_(options),
      space_({options.min_free_bytes, options.reserve_bytes}, SpaceOf(options.data_dir)),
      strand_(options.limits, Strand::Mode::kThreaded, *this, options.clock) {}

RocksDbEngine::~RocksDbEngine() { Close(); }

absl::Status RocksDbEngine::Open(std::vector<CommitSink*> sinks) {
  space_.MakeRoom();
  auto database = Database::Open({.data_dir = options_.data_dir,
                                  .sync = options_.sync,
                                  .write_buffer_bytes = options_.write_buffer_bytes,
                                  .block_cache_bytes = options_.block_cache_bytes,
                                  .max_open_files = options_.max_open_files,
                                  .env = options_.env});
  if (!database.ok()) return database.status();
  auto identity = LoadOrCreate(**database, options_.clock, options_.rng);
  if (!identity.ok()) return identity.status();
  auto snapshot = (*database)->TakeSnapshot(identity->record.epoch);
  if (!snapshot.ok()) return snapshot.status();
  if (absl::Status status = ReplayStore(**snapshot, identity->record, sinks); !status.ok()) {
    return status;
  }
  {
    MutexLock lock(mu_);
    db_ = *std::move(database);
  }
  // Should the store have lost a log, by whatever hand, then nobody gets a seq, an incarnation or a
  // lease handle that somebody else was given: commits take fewer than one a microsecond.
  const auto least_seq = static_cast<uint64_t>(std::max<int64_t>(options_.clock.System().us, 0));
  strand_.Start({identity->record.epoch, identity->seq}, std::move(sinks), least_seq);
  return absl::OkStatus();
}

void RocksDbEngine::Propose(Batch batch, WriteClass write_class, Done done) {
  strand_.Propose(std::move(batch), write_class, std::move(done));
}

absl::StatusOr<std::shared_ptr<Database>> RocksDbEngine::OpenDatabase() const {
  MutexLock lock(mu_);
  if (db_ != nullptr) return db_;
  return base::MakeError(absl::StatusCode::kUnavailable, base::Reason::kClosed,
                         "the storage engine is closed");
}

absl::StatusOr<std::optional<std::string>> RocksDbEngine::Read(Family family,
                                                               std::string_view key) const {
  auto database = OpenDatabase();
  if (!database.ok()) return database.status();
  return (*database)->Read(family, key);
}

absl::Status RocksDbEngine::Write(absl::Span<const Commit> commits) {
  auto database = OpenDatabase();
  if (!database.ok()) return database.status();
  return (*database)->Write(commits);
}

absl::StatusOr<std::string> RocksDbEngine::Get(Family family, std::string_view key) const {
  auto value = Read(family, key);
  if (!value.ok()) return value.status();
  if (!*value) return absl::NotFoundError("no such key");
  return **std::move(value);
}

absl::StatusOr<std::unique_ptr<Snapshot>> RocksDbEngine::GetSnapshot() const {
  auto database = OpenDatabase();
  if (!database.ok()) return database.status();
  return (*database)->TakeSnapshot(revision().epoch);
}

void RocksDbEngine::Tend() {
  using Level = SpaceGuard::Level;
  const auto database = OpenDatabase();
  if (!database.ok()) return;
  LookForFiles(**database);
  NoteLogs(**database);
  // The space, and the reserve, would be another store's.
  if (!(*database)->in_place()) return;
  const Level level = space_.Look();
  bool stopped = (*database)->stopped_by_full_disk();
  if (stopped && level != Level::kFull && options_.clock.Steady() >= next_resume_) {
    next_resume_ = options_.clock.Steady() + kResumeEvery;
    stopped = !(*database)->Resume().ok();
  }
  if (level == Level::kAmple && !stopped) {
    strand_.SetShortage(Strand::Shortage::kNone, "");
  } else if (stopped) {
    strand_.SetShortage(Strand::Shortage::kFull,
                        "the disk of the data directory is full: a table couldn't be written");
  } else {
    strand_.SetShortage(
        level == Level::kFull ? Strand::Shortage::kFull : Strand::Shortage::kLow,
        absl::StrCat("the disk of the data directory is nearly full: ", space_.free_bytes(),
                     " bytes are free, rocksdb.min_free_bytes is ", options_.min_free_bytes));
  }
}

void RocksDbEngine::LookForFiles(const Database& database) {
  if (options_.clock.Steady() < next_look_) return;
  next_look_ = options_.clock.Steady() + kLookEvery;
  const std::string what = database.MissingPart();
  // Twice: the database may have gone on to another log meanwhile.
  if (!what.empty() && files_missing_) {
    strand_.Freeze("files of the store are gone",
                   absl::StrCat(what, "; move it back or begin anew, and restart"));
  }
  files_missing_ = !what.empty();
}

void RocksDbEngine::NoteLogs(Database& database) {
  if (options_.clock.Steady() < next_note_) return;
  next_note_ = options_.clock.Steady() + options_.note_logs_every;
  const absl::Status status = database.NoteLogs();
  if (!status.ok() && !note_failed_) {
    base::Log(base::LogLevel::kWarn, "what the logs hold isn't noted",
              {{"error", std::string(status.message())}});
  }
  note_failed_ = !status.ok();
}

void RocksDbEngine::Close() {
  strand_.Close();
  MutexLock lock(mu_);
  db_.reset();
}

}  // namespace muster::storage

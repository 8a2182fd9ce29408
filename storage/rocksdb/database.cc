#include "storage/rocksdb/database.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/transaction_log.h>
#include <rocksdb/write_batch.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/log.h"
#include "storage/rocksdb/log_check.h"
#include "storage/rocksdb/log_ledger.h"
#include "storage/store_record.h"

namespace muster::storage {
namespace {

using base::MakeError;
using base::Reason;

// Nearly all groups fit into this. Their bytes are gathered in memory that is had once: blocks of
// this size, had anew for each group, would be given back to the system and cleared by it again and
// again.
constexpr size_t kKeptBatchBytes = 512 << 10;
// Of RocksDB, for an operation at most: kind, family and sizes.
constexpr size_t kOpHead = 16;
constexpr size_t kBatchHead = 128;

size_t BatchBytes(absl::Span<const Commit> commits) {
  size_t bytes = kBatchHead;  // meta/seq included
  for (const Commit& commit : commits) {
    for (const Op& op : commit.ops) bytes += kOpHead + op.key.size() + op.value.size();
  }
  return bytes;
}

absl::Status DiskFull() {
  return base::WithRetryAfter(
      MakeError(absl::StatusCode::kUnavailable, Reason::kStorageFull,
                "the disk of the data directory is full: a table couldn't be written"),
      absl::Seconds(5));
}

rocksdb::Slice ToSlice(std::string_view text) { return {text.data(), text.size()}; }
std::string_view ToView(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

absl::Status Damaged(std::string_view what) {
  return MakeError(absl::StatusCode::kDataLoss, Reason::kStorageDamaged,
                   absl::StrCat("storage is damaged: ", std::string(what), kWhenDamaged));
}

// A version or checksum type that the database doesn't know was damaged, too: nobody else writes.
bool IsDamage(const rocksdb::Status& status) {
  return status.IsCorruption() || status.IsPathNotFound() || status.IsNotSupported();
}

// Of what the database says, without the path that it was given (DataDirLock::path): "000012.log".
std::string WithoutPath(std::string text) {
  static constexpr std::string_view kFd = "/proc/self/fd/";
  for (size_t at = text.find(kFd); at != text.npos; at = text.find(kFd, at)) {
    size_t end = text.find_first_not_of("0123456789", at + kFd.size());
    if (end != text.npos && text[end] == '/') ++end;
    text.erase(at, std::min(end, text.size()) - at);
  }
  return text;
}

absl::Status Translate(const rocksdb::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = WithoutPath(status.ToString());
  if (IsDamage(status)) return Damaged(text);
  return MakeError(absl::StatusCode::kUnavailable, Reason::kStorageUnusable, text);
}

absl::Status TranslateOpen(const rocksdb::Status& status, const std::string& dir) {
  const std::string text = WithoutPath(status.ToString());
  if (status.IsInvalidArgument() && absl::StrContains(text, "Column families not opened")) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition, Reason::kFormatNewer,
        absl::StrCat("data directory ", dir, " was written by a newer musterd: ", text));
  }
  if (IsDamage(status)) {
    return DamagedStore(dir, text);
  }
  return UnusableDirectory(dir, text);
}

// Hands the database's warnings and errors to muster's log. Not a file of its own in the data
// directory: on a full disk a library built with assertions, as Debian's is, aborts when it can't
// write its second line there.
class LogForwarder : public rocksdb::Logger {
 public:
  LogForwarder() : Logger(rocksdb::InfoLogLevel::WARN_LEVEL) {}

  using Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    Forward(base::LogLevel::kWarn, format, arguments);
  }
  void Logv(const rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (level < GetInfoLogLevel() || level == rocksdb::InfoLogLevel::HEADER_LEVEL) return;
    Forward(
        level == rocksdb::InfoLogLevel::WARN_LEVEL ? base::LogLevel::kWarn : base::LogLevel::kError,
        format, arguments);
  }

 private:
  static void Forward(base::LogLevel level, const char* format, va_list arguments) {
    char text[512];
    std::vsnprintf(text, sizeof(text), format, arguments);
    base::Log(level, "rocksdb", {{"message", WithoutPath(text)}});
  }
};

}  // namespace

// Learns that flushing or compacting failed for want of space. Nothing but Resume() mends it: the
// database mustn't do it behind the engine's back.
class Database::Watcher : public rocksdb::EventListener {
 public:
  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) override {
    // A write that failed is the engine's to judge.
    const bool write = reason == rocksdb::BackgroundErrorReason::kWriteCallback ||
                       reason == rocksdb::BackgroundErrorReason::kMemTable;
    if (write || !error->IsNoSpace()) return;
    full_.store(true);
  }
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status,
                            bool* auto_recovery) override {
    *auto_recovery = false;
  }
  bool full() const { return full_.load(); }
  void Clear() { full_.store(false); }

 private:
  std::atomic<bool> full_{false};
};

namespace {

rocksdb::DBOptions MakeDbOptions(const DatabaseOptions& options) {
  rocksdb::DBOptions db;
  db.create_if_missing = true;
  db.create_missing_column_families = true;
  db.paranoid_checks = true;
  // MendLogs has cut off what a power cut tore. Any other mode drops something without a word.
  db.wal_recovery_mode = rocksdb::WALRecoveryMode::kAbsoluteConsistency;
  db.db_write_buffer_size = options.write_buffer_bytes;
  // A family that is seldom written mustn't keep the whole log alive.
  db.max_total_wal_size = 2 * options.write_buffer_bytes;
  db.max_open_files = options.max_open_files;
  // Not 4 MiB, which a nearly full disk has not.
  db.manifest_preallocation_size = 64 << 10;
  db.max_background_jobs = 2;
  // A table goes to the disk as it is written, not all at its end, where the log's next sync would
  // wait behind it.
  db.bytes_per_sync = 1 << 20;
  // A failed write freezes the engine; the database mustn't mend itself behind its back.
  db.max_bgerror_resume_count = 0;
  db.info_log = std::make_shared<LogForwarder>();
  db.stats_dump_period_sec = 0;
  db.stats_persist_period_sec = 0;
  return db;
}

rocksdb::ColumnFamilyOptions MakeFamilyOptions(const DatabaseOptions& options,
                                               const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.cache_index_and_filter_blocks = true;
  rocksdb::ColumnFamilyOptions family;
  family.write_buffer_size = options.write_buffer_bytes / 2;
  family.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return family;
}

std::vector<rocksdb::ColumnFamilyDescriptor> MakeDescriptors(const DatabaseOptions& options) {
  const auto cache = rocksdb::NewLRUCache(options.block_cache_bytes);
  const rocksdb::ColumnFamilyOptions family = MakeFamilyOptions(options, cache);
  // Half as many compactions as with RocksDB's default of 4, each of which rewrites the whole
  // family. What is read is memory's; this is read when it is opened, and for few keys.
  rocksdb::ColumnFamilyOptions instances = family;
  instances.level0_file_num_compaction_trigger = 8;
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (size_t i = 0; i < kFamilyNames.size(); ++i) {
    const bool large = static_cast<Family>(i) == Family::kInstances;
    descriptors.emplace_back(std::string(kFamilyNames[i]), large ? instances : family);
  }
  descriptors.emplace_back(rocksdb::kDefaultColumnFamilyName, family);
  return descriptors;
}

std::string SeqValue(uint64_t seq) {
  std::string value = EncodeValue("");
  StampModSeq(value, seq);
  return value;
}

bool IsSeqKey(Family family, std::string_view key) {
  return family == Family::kMeta && key == kSeqKey;
}

class DatabaseSnapshot : public Snapshot {
 public:
  using Handles = std::array<rocksdb::ColumnFamilyHandle*, kFamilyCount + 1>;

  // `owner` keeps `db` and `handles` alive. Takes `snapshot` over.
  DatabaseSnapshot(std::shared_ptr<const Database> owner, rocksdb::DB& db, const Handles& handles,
                   const rocksdb::Snapshot* snapshot, Revision revision)
      : owner_(std::move(owner)),
        db_(db),
        handles_(handles),
        snapshot_(snapshot),
        revision_(revision) {}
  ~DatabaseSnapshot() override { db_.ReleaseSnapshot(snapshot_); }

  Revision revision() const override { return revision_; }

  absl::Status Scan(
      Family family, std::string_view prefix,
      const std::function<bool(std::string_view, std::string_view)>& visit) const override {
    rocksdb::ReadOptions read;
    read.snapshot = snapshot_;
    read.fill_cache = false;
    const std::unique_ptr<rocksdb::Iterator> it(
        db_.NewIterator(read, handles_[static_cast<int>(family)]));
    for (it->Seek(ToSlice(prefix)); it->Valid() && ToView(it->key()).starts_with(prefix);
         it->Next()) {
      if (IsSeqKey(family, ToView(it->key()))) continue;
      if (!visit(ToView(it->key()), ToView(it->value()))) break;
    }
    return Translate(it->status());
  }

 private:
  const std::shared_ptr<const Database> owner_;
  rocksdb::DB& db_;
  const Handles& handles_;
  const rocksdb::Snapshot* const snapshot_;
  const Revision revision_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<Database>> Database::Open(const DatabaseOptions& options) {
  auto lock = PrepareDataDir(options.data_dir, options.salvaging);
  if (!lock.ok()) return lock.status();
  std::shared_ptr<Database> database(new Database(options, *std::move(lock)));
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  rocksdb::DBOptions db_options = MakeDbOptions(options);
  db_options.env = database->ledger_->env();
  db_options.listeners.push_back(database->watcher_);
  const rocksdb::Status opened =
      rocksdb::DB::Open(db_options, database->path_, MakeDescriptors(options), &handles, &db);
  if (!opened.ok()) return TranslateOpen(opened, options.data_dir);
  database->db_.reset(db);
  for (size_t i = 0; i < handles.size(); ++i) database->handles_[i] = handles[i];
  // On a full disk it isn't noted: that is no reason to stay down.
  database->NoteLogs().IgnoreError();
  return database;
}

Database::Database(const DatabaseOptions& options, DataDirLock lock)
    : data_dir_(options.data_dir),
      sync_(options.sync),
      lock_(std::move(lock)),
      path_(lock_.path()),
      batch_(std::make_unique<rocksdb::WriteBatch>(kKeptBatchBytes)),
      ledger_(std::make_unique<LogLedger>(
          path_, *(options.env != nullptr ? options.env : rocksdb::Env::Default()))),
      watcher_(std::make_shared<Watcher>()) {}

Database::~Database() {
  if (db_ == nullptr) return;
  // Failures here change nothing: what was acknowledged is in the synced log.
  for (rocksdb::ColumnFamilyHandle* handle : handles_) {
    db_->DestroyColumnFamilyHandle(handle).PermitUncheckedError();
  }
  db_->Close().PermitUncheckedError();
  NoteLogs().IgnoreError();
}

absl::Status Database::NoteLogs() { return lock_.Named(ledger_->Write()); }

absl::StatusOr<std::optional<std::string>> Database::Read(Family family,
                                                          std::string_view key) const {
  std::string value;
  const rocksdb::Status status =
      db_->Get(rocksdb::ReadOptions(), handles_[static_cast<int>(family)], ToSlice(key), &value);
  if (status.IsNotFound()) return std::nullopt;
  if (!status.ok()) return Translate(status);
  return value;
}

bool Database::stopped_by_full_disk() const { return watcher_->full(); }

std::string Database::MissingPart() const {
  if (!in_place()) {
    return absl::StrCat("data directory ", data_dir_, " was moved or deleted while it was in use");
  }
  const auto gone = [this](const std::string& name) {
    std::error_code error;
    return std::filesystem::exists(path_ + "/" + name, error) || error
               ? ""
               : absl::StrCat("data directory ", data_dir_, ": ", name,
                              " was deleted while it was in use");
  };
  if (std::string what = gone("CURRENT"); !what.empty()) return what;
  std::unique_ptr<rocksdb::LogFile> log;
  const rocksdb::Status found = db_->GetCurrentWalFile(&log);
  // It asks for the file's size.
  if (found.IsPathNotFound()) {
    return absl::StrCat("data directory ", data_dir_, ": the .log in use was deleted");
  }
  if (!found.ok()) return "";
  return gone(std::filesystem::path(log->PathName()).filename().string());
}

absl::Status Database::Resume() {
  const rocksdb::Status status = db_->Resume();
  if (status.ok()) {
    watcher_->Clear();
    return absl::OkStatus();
  }
  if (status.IsNoSpace()) return DiskFull();
  return Translate(status);
}

absl::Status Database::Write(absl::Span<const Commit> commits) {
  if (watcher_->full()) return DiskFull();
  const size_t bytes = BatchBytes(commits);
  const bool large = bytes > kKeptBatchBytes;
  rocksdb::WriteBatch own(large ? bytes : 0);
  rocksdb::WriteBatch& batch = large ? own : *batch_;
  batch.Clear();
  rocksdb::Status status;
  for (const Commit& commit : commits) {
    for (const Op& op : commit.ops) {
      rocksdb::ColumnFamilyHandle* handle = handles_[static_cast<int>(op.family)];
      status = op.kind == Op::Kind::kPut ? batch.Put(handle, op.key, op.value)
                                         : batch.Delete(handle, op.key);
      if (!status.ok()) return Translate(status);
    }
  }
  status = batch.Put(handles_[static_cast<int>(Family::kMeta)], ToSlice(kSeqKey),
                     SeqValue(commits.back().seq));
  if (!status.ok()) return Translate(status);
  rocksdb::WriteOptions write;
  write.sync = sync_;
  return Translate(db_->Write(write, &batch));
}

absl::Status Database::WriteIdentity(const StoreRecordView& record) {
  rocksdb::ColumnFamilyHandle* meta = handles_[static_cast<int>(Family::kMeta)];
  rocksdb::WriteBatch batch;
  rocksdb::Status status = batch.Put(meta, ToSlice(kStoreKey), EncodeStoreRecord(record));
  if (status.ok()) status = batch.Put(meta, ToSlice(kSeqKey), SeqValue(record.base_seq));
  if (!status.ok()) return Translate(status);
  rocksdb::WriteOptions write;
  write.sync = true;
  return Translate(db_->Write(write, &batch));
}

absl::StatusOr<bool> Database::Empty() const {
  for (rocksdb::ColumnFamilyHandle* handle : handles_) {
    const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(rocksdb::ReadOptions(), handle));
    it->SeekToFirst();
    if (it->Valid()) return false;
    if (!it->status().ok()) return Translate(it->status());
  }
  return true;
}

absl::StatusOr<std::optional<Database::Identity>> Database::Load() const {
  auto store = Read(Family::kMeta, kStoreKey);
  if (!store.ok()) return store.status();
  auto seq = Read(Family::kMeta, kSeqKey);
  if (!seq.ok()) return seq.status();
  if (!*store && !*seq) {
    auto empty = Empty();
    if (!empty.ok()) return empty.status();
    if (*empty) return std::nullopt;
  }
  if (!*store || !*seq) return Damaged("its identity is missing from meta");
  auto record = DecodeStoreRecord(**store);
  if (!record.ok()) return record.status();
  auto last = DecodeValue(**seq);
  if (!last.ok()) return last.status();
  return Identity{*record, last->mod_seq};
}

absl::StatusOr<std::unique_ptr<Snapshot>> Database::TakeSnapshot(uint64_t epoch) const {
  rocksdb::ReadOptions read;
  read.snapshot = db_->GetSnapshot();
  std::string seq;
  const rocksdb::Status status =
      db_->Get(read, handles_[static_cast<int>(Family::kMeta)], ToSlice(kSeqKey), &seq);
  // Built first, so that the snapshot is released whatever the read said.
  auto snapshot = std::make_unique<DatabaseSnapshot>(shared_from_this(), *db_, handles_,
                                                     read.snapshot, Revision{epoch, ModSeqOf(seq)});
  if (!status.ok()) return Translate(status);
  return snapshot;
}

}  // namespace muster::storage

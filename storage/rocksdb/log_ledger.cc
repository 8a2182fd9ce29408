#include "storage/rocksdb/log_ledger.h"

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/mutex.h"
#include "storage/rocksdb/data_dir.h"
#include "storage/rocksdb/log_scan.h"

namespace muster::storage {
namespace {

namespace fs = std::filesystem;
using base::MutexLock;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

constexpr std::string_view kHead = "muster.logs 2\n";
constexpr size_t kMaxBytes = 64 << 10;

bool IsLog(const fs::path& name) { return name.extension() == ".log"; }
bool IsManifest(const fs::path& name) { return name.filename().string().starts_with("MANIFEST-"); }

std::string ChecksumLine(std::string_view text) {
  return absl::StrCat("crc32c ", absl::Hex(Crc32c(text), absl::kZeroPad8), "\n");
}

std::string Encode(const NotedLogs& noted) {
  std::string text(kHead);
  for (const auto& [name, log] : noted) {
    absl::StrAppend(&text, name, " ", log.bytes, " ", absl::BytesToHexString(log.head), "\n");
  }
  return absl::StrCat(text, ChecksumLine(text));
}

std::optional<NotedLogs> Decode(std::string_view text) {
  const size_t end = text.rfind("crc32c ");
  if (!text.starts_with(kHead) || end == std::string_view::npos) return std::nullopt;
  if (text.substr(end) != ChecksumLine(text.substr(0, end))) return std::nullopt;
  std::istringstream lines{std::string(text.substr(kHead.size(), end - kHead.size()))};
  NotedLogs noted;
  std::string name;
  std::string head;
  uint64_t bytes = 0;
  while (lines >> name >> bytes >> head) {
    if (head.size() > 2 * kLogHead || head.find_first_not_of("0123456789abcdef") != head.npos) {
      return std::nullopt;
    }
    noted[name] = NotedLog{bytes, absl::HexStringToBytes(head)};
  }
  return lines.eof() ? std::optional(std::move(noted)) : std::nullopt;
}

// A log that is written, or was before the database was opened.
class Written {
 public:
  Written() = default;
  explicit Written(const NotedLog& noted) : synced_(noted.bytes), head_(noted.head) {}

  void Append(const Slice& data) {
    MutexLock lock(mu_);
    bytes_ += data.size();
    const size_t lacks = kLogHead - std::min(kLogHead, head_.size());
    head_.append(data.data(), std::min(lacks, data.size()));
  }
  uint64_t bytes() const {
    MutexLock lock(mu_);
    return bytes_;
  }
  // A sync of so many bytes ended.
  void Synced(uint64_t bytes, bool ok) {
    MutexLock lock(mu_);
    if (!ok) lost_ = true;
    if (!lost_) synced_ = bytes;
  }
  NotedLog synced() const {
    MutexLock lock(mu_);
    return {synced_, head_};
  }

 private:
  mutable base::Mutex mu_;
  uint64_t bytes_ MUSTER_GUARDED_BY(mu_) = 0;
  uint64_t synced_ MUSTER_GUARDED_BY(mu_) = 0;
  // A sync failed: nobody knows what the disk has of the rest.
  bool lost_ MUSTER_GUARDED_BY(mu_) = false;
  std::string head_ MUSTER_GUARDED_BY(mu_);
};

class SeenFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  SeenFile(std::unique_ptr<rocksdb::FSWritableFile> file, std::shared_ptr<Written> written)
      : FSWritableFileOwnerWrapper(std::move(file)), written_(std::move(written)) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    return Count(data, FSWritableFileOwnerWrapper::Append(data, options, debug));
  }
  IOStatus Append(const Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo& verification,
                  IODebugContext* debug) override {
    return Count(data, FSWritableFileOwnerWrapper::Append(data, options, verification, debug));
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    const uint64_t bytes = written_->bytes();
    return Settle(bytes, FSWritableFileOwnerWrapper::Sync(options, debug));
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    const uint64_t bytes = written_->bytes();
    return Settle(bytes, FSWritableFileOwnerWrapper::Fsync(options, debug));
  }

 private:
  IOStatus Count(const Slice& data, IOStatus status) {
    if (status.ok()) written_->Append(data);
    return status;
  }
  IOStatus Settle(uint64_t bytes, IOStatus status) {
    written_->Synced(bytes, status.ok());
    return status;
  }
  const std::shared_ptr<Written> written_;
};

}  // namespace

fs::path LedgerFile(const fs::path& dir) { return dir / "muster.logs"; }

NotedLogs ReadNotedLogs(const fs::path& dir) {
  const auto text = ReadSmallFile(LedgerFile(dir), kMaxBytes);
  if (text.ok() && !*text) return {};
  std::optional<NotedLogs> noted = text.ok() ? Decode(**text) : std::nullopt;
  if (noted) return *std::move(noted);
  base::Log(base::LogLevel::kWarn, "what the logs hold isn't known: one that was cut isn't noticed",
            {{"error", text.ok() ? "the checksum of muster.logs is wrong, or its format is another"
                                 : std::string(text.status().message())}});
  return {};
}

// The file system of the database. Writes the ledger through what is below, as the database writes
// its own files.
class LogLedger::Files : public rocksdb::FileSystemWrapper {
 public:
  Files(fs::path dir, const std::shared_ptr<rocksdb::FileSystem>& below)
      : FileSystemWrapper(below), dir_(std::move(dir)), durable_(ReadNotedLogs(dir_)) {
    for (const auto& [name, log] : durable_) written_[name] = std::make_shared<Written>(log);
  }

  const char* Name() const override { return "LogLedgerFiles"; }
  IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* result,
                           IODebugContext* debug) override {
    const fs::path name = fs::path(path).filename();
    if (!IsLog(name) && !IsManifest(name)) {
      return FileSystemWrapper::NewWritableFile(path, options, result, debug);
    }
    MutexLock lock(mu_);
    if (IOStatus status = Forget(name); !status.ok()) return status;
    std::unique_ptr<rocksdb::FSWritableFile> file;
    IOStatus status = FileSystemWrapper::NewWritableFile(path, options, &file, debug);
    if (!status.ok()) return status;
    const auto written = std::make_shared<Written>();
    written_[name] = written;
    *result = std::make_unique<SeenFile>(std::move(file), written);
    return status;
  }
  IOStatus DeleteFile(const std::string& path, const IOOptions& options,
                      IODebugContext* debug) override {
    const fs::path name = fs::path(path).filename();
    if (IsLog(name)) {
      MutexLock lock(mu_);
      if (IOStatus status = Forget(name); !status.ok()) return status;
    }
    return FileSystemWrapper::DeleteFile(path, options, debug);
  }

  IOStatus Write() {
    MutexLock lock(mu_);
    return WriteNow();
  }

 private:
  // Before the file goes, or begins anew. Without a ledger when it can't be written: on a full disk
  // a log has to go all the same.
  IOStatus Forget(const std::string& name) MUSTER_REQUIRES(mu_) {
    written_.erase(name);
    if (!durable_.contains(name) || WriteNow().ok()) return IOStatus::OK();
    IOStatus status = target()->DeleteFile(LedgerFile(dir_), IOOptions(), nullptr);
    if (status.ok()) status = SyncDir();
    if (status.ok()) durable_.clear();
    return status;
  }

  NotedLogs Synced() const MUSTER_REQUIRES(mu_) {
    const auto text = ReadSmallFile(dir_ / "CURRENT", kMaxBytes);
    std::string current = text.ok() ? text->value_or("") : "";
    if (!current.empty() && current.back() == '\n') current.pop_back();
    NotedLogs synced;
    for (const auto& [name, written] : written_) {
      const NotedLog log = written->synced();
      if (log.bytes > 0 && (IsLog(name) || name == current)) synced[name] = log;
    }
    return synced;
  }

  IOStatus WriteNow() MUSTER_REQUIRES(mu_) {
    NotedLogs synced = Synced();
    if (synced == durable_) return IOStatus::OK();
    const std::string file = LedgerFile(dir_);
    const std::string fresh = file + ".new";
    // Whatever somebody put there, it isn't written through.
    target()->DeleteFile(fresh, IOOptions(), nullptr).PermitUncheckedError();
    IOStatus status = WriteFile(fresh, Encode(synced));
    // The names of the logs, and CURRENT, first: a rename might be durable before them.
    if (status.ok()) status = SyncDir();
    if (status.ok()) status = target()->RenameFile(fresh, file, IOOptions(), nullptr);
    if (!status.ok()) {
      target()->DeleteFile(fresh, IOOptions(), nullptr).PermitUncheckedError();
      return status;
    }
    status = SyncDir();
    // Otherwise either of both may be found.
    if (!status.ok()) synced.insert(durable_.begin(), durable_.end());
    durable_ = std::move(synced);
    return status;
  }

  IOStatus WriteFile(const std::string& path, const std::string& text) {
    std::unique_ptr<rocksdb::FSWritableFile> file;
    IOStatus status = target()->NewWritableFile(path, rocksdb::FileOptions(), &file, nullptr);
    if (!status.ok()) return status;
    status = file->Append(text, IOOptions(), nullptr);
    if (status.ok()) status = file->Sync(IOOptions(), nullptr);
    IOStatus closed = file->Close(IOOptions(), nullptr);
    return status.ok() ? closed : status;
  }

  IOStatus SyncDir() {
    std::unique_ptr<rocksdb::FSDirectory> directory;
    IOStatus status = target()->NewDirectory(dir_, IOOptions(), &directory, nullptr);
    return status.ok() ? directory->Fsync(IOOptions(), nullptr) : status;
  }

  const fs::path dir_;
  base::Mutex mu_;
  std::map<std::string, std::shared_ptr<Written>> written_ MUSTER_GUARDED_BY(mu_);
  NotedLogs durable_ MUSTER_GUARDED_BY(mu_);  // what a start may find
};

class LogLedger::SeeingEnv : public rocksdb::EnvWrapper {
 public:
  SeeingEnv(rocksdb::Env& env, const std::shared_ptr<rocksdb::FileSystem>& files)
      : EnvWrapper(&env) {
    file_system_ = files;
  }
  const char* Name() const override { return "LogLedgerEnv"; }
};

LogLedger::LogLedger(const fs::path& dir, rocksdb::Env& env)
    : files_(std::make_shared<Files>(dir, env.GetFileSystem())),
      env_(std::make_unique<SeeingEnv>(env, files_)) {}

LogLedger::~LogLedger() = default;

rocksdb::Env* LogLedger::env() const { return env_.get(); }

absl::Status LogLedger::Write() {
  const IOStatus status = files_->Write();
  if (status.ok()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("can't write muster.logs: ", status.ToString()));
}

}  // namespace muster::storage

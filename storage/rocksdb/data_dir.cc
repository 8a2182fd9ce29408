#include "storage/rocksdb/data_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/errors.h"
#include "storage/rocksdb/log_check.h"
#include "storage/rocksdb/log_ledger.h"

namespace muster::storage {
namespace {

namespace fs = std::filesystem;

std::string ErrnoText() { return std::generic_category().message(errno); }

}  // namespace

absl::Status UnusableDirectory(const fs::path& dir, std::string_view why) {
  return base::MakeError(absl::StatusCode::kUnavailable, base::Reason::kStorageUnusable,
                         absl::StrCat("data directory ", dir.string(), ": ", std::string(why)));
}

absl::Status SyncDirectory(const fs::path& dir) {
  const int fd = ::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return UnusableDirectory(dir, ErrnoText());
  const bool synced = ::fsync(fd) == 0;
  const std::string error = synced ? "" : ErrnoText();
  ::close(fd);
  return synced ? absl::OkStatus() : UnusableDirectory(dir, error);
}

absl::Status CreateDataDir(const fs::path& dir) {
  std::error_code error;
  if (fs::is_directory(dir, error)) return absl::OkStatus();
  if (fs::exists(fs::symlink_status(dir, error))) {
    return UnusableDirectory(dir, "is no directory, and stands where one should");
  }
  const fs::path parent = fs::absolute(dir, error).parent_path();
  if (fs::create_directories(parent, error); error) return UnusableDirectory(dir, error.message());
  if (::mkdir(dir.c_str(), 0700) != 0) return UnusableDirectory(dir, ErrnoText());
  return SyncDirectory(parent);
}

fs::path SalvageMark(const fs::path& dir) { return dir / "muster.salvage"; }

absl::StatusOr<std::optional<std::string>> ReadSmallFile(const fs::path& file, size_t limit) {
  const auto failed = [&file](std::string_view why) {
    return absl::UnavailableError(
        absl::StrCat("can't read ", file.filename().string(), ": ", std::string(why)));
  };
  const int fd = ::open(file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return std::nullopt;
  if (fd < 0) return failed(ErrnoText());
  std::string text(limit + 1, '\0');
  struct stat about {};
  const bool is_file = ::fstat(fd, &about) == 0 && S_ISREG(about.st_mode);
  const ssize_t got = is_file ? ::pread(fd, text.data(), text.size(), 0) : 0;
  const std::string error = got < 0 ? ErrnoText() : "";
  ::close(fd);
  if (!is_file) return failed("it is no file");
  if (got < 0) return failed(error);
  if (static_cast<size_t>(got) > limit) return failed("it is too large");
  text.resize(static_cast<size_t>(got));
  return text;
}

absl::StatusOr<Wholeness> LookAt(const fs::path& dir) {
  std::error_code error;
  std::string table;
  std::string log;
  std::string restore;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const fs::path extension = it->path().extension();
    if (extension == ".sst") table = name;
    if (extension == ".log") log = name;
    // Its last move is that of CURRENT.
    if (absl::StartsWith(name, kRestorePrefix) && fs::exists(it->path() / "CURRENT", error)) {
      restore = name;
    }
  }
  if (error) return UnusableDirectory(dir, error.message());
  if (!fs::exists(dir / "CURRENT", error)) {
    if (!restore.empty()) {
      return DamagedStore(dir, absl::StrCat("a restore into it was cut off and left ", restore,
                                            ": run it again, or empty the directory"));
    }
    // All of these appear only after CURRENT does.
    const NotedLogs noted = ReadNotedLogs(dir);
    const std::string& one = !table.empty() ? table : log;
    if (!one.empty()) return DamagedStore(dir, absl::StrCat("it has ", one, " but no CURRENT"));
    if (!noted.empty()) {
      return DamagedStore(
          dir, absl::StrCat("it has no CURRENT, but muster.logs says that ", noted.begin()->first,
                            " was there; to begin anew empty the directory"));
    }
  }
  // A log is there as soon as a store has been opened once, and goes when another one has come.
  return !table.empty() && log.empty() ? Wholeness::kNoLog : Wholeness::kWhole;
}

absl::StatusOr<DataDirLock> DataDirLock::Take(const std::string& dir) {
  const int fd = ::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return UnusableDirectory(dir, ErrnoText());
  DataDirLock lock(dir, fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno == EWOULDBLOCK) {
    return base::MakeError(absl::StatusCode::kUnavailable, base::Reason::kStorageUnusable,
                           absl::StrCat("data directory ", dir, " is in use by another musterd"));
  }
  // Some network file systems lock no directories; the database's own lock is left then.
  if (errno == EBADF || errno == EOPNOTSUPP || errno == ENOLCK || errno == EINVAL) return lock;
  return UnusableDirectory(dir, ErrnoText());
}

DataDirLock::DataDirLock(DataDirLock&& other) noexcept
    : dir_(std::move(other.dir_)), fd_(std::exchange(other.fd_, -1)) {}

DataDirLock& DataDirLock::operator=(DataDirLock&& other) noexcept {
  std::swap(dir_, other.dir_);
  std::swap(fd_, other.fd_);
  return *this;
}

DataDirLock::~DataDirLock() {
  if (fd_ >= 0) ::close(fd_);
}

bool DataDirLock::InPlace() const {
  struct stat named {};
  struct stat locked {};
  if (::stat(dir_.c_str(), &named) != 0) return errno != ENOENT && errno != ENOTDIR;
  return ::fstat(fd_, &locked) == 0 && named.st_dev == locked.st_dev &&
         named.st_ino == locked.st_ino;
}

std::string DataDirLock::path() const {
  std::string path = absl::StrCat("/proc/self/fd/", fd_);
  struct stat about {};
  return ::stat(path.c_str(), &about) == 0 ? path : dir_;  // where nothing is mounted on /proc
}

std::string DataDirLock::Named(std::string text) const {
  return absl::StrReplaceAll(text, {{absl::StrCat("/proc/self/fd/", fd_), dir_}});
}

absl::Status DataDirLock::Named(const absl::Status& status) const {
  absl::Status named(status.code(), Named(std::string(status.message())));
  status.ForEachPayload([&named](absl::string_view url, const absl::Cord& payload) {
    named.SetPayload(url, payload);
  });
  return named;
}

absl::StatusOr<DataDirLock> PrepareDataDir(const fs::path& dir, bool salvaging) {
  if (absl::Status status = CreateDataDir(dir); !status.ok()) return status;
  // From here on, so that no other server's log is cut while it writes it.
  auto lock = DataDirLock::Take(dir.string());
  if (!lock.ok()) return lock;
  std::error_code error;
  if (!salvaging && fs::exists(SalvageMark(dir), error)) {
    return base::MakeError(
        absl::StatusCode::kDataLoss, base::Reason::kStorageDamaged,
        absl::StrCat(
            "data directory ", dir.string(),
            ": a salvage was begun and not finished; finish it: muster salvage --data-dir ",
            dir.string(), " --yes"));
  }
  const auto wholeness = LookAt(lock->path());
  if (!wholeness.ok()) return lock->Named(wholeness.status());
  if (*wholeness == Wholeness::kNoLog && !salvaging) {
    return SalvageOrRestore(
        dir, "it has tables but no .log, which held what was written last, if anything was");
  }
  if (absl::Status status = MendLogs(lock->path()); !status.ok()) return lock->Named(status);
  return lock;
}

}  // namespace muster::storage

#include "storage/rocksdb/data_dir.h"

#include <fcntl.h>
#include <rocksdb/env.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "storage/rocksdb/log_check.h"

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
  const fs::path parent = fs::absolute(dir, error).parent_path();
  if (fs::create_directories(parent, error); error) return UnusableDirectory(dir, error.message());
  if (::mkdir(dir.c_str(), 0700) != 0) return UnusableDirectory(dir, ErrnoText());
  return SyncDirectory(parent);
}

absl::Status CheckWhole(const fs::path& dir) {
  std::error_code error;
  if (fs::exists(dir / "CURRENT", error)) return absl::OkStatus();
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    // Both appear only after CURRENT does.
    const fs::path extension = it->path().extension();
    if (extension == ".sst" || extension == ".log") {
      return DamagedStore(
          dir, absl::StrCat("it has ", it->path().filename().string(), " but no CURRENT"));
    }
  }
  return error ? UnusableDirectory(dir, error.message()) : absl::OkStatus();
}

absl::StatusOr<DataDirLock> DataDirLock::Take(const std::string& dir, rocksdb::Env* env) {
  rocksdb::Env& used = env == nullptr ? *rocksdb::Env::Default() : *env;
  rocksdb::FileLock* lock = nullptr;
  const rocksdb::Status status = used.LockFile(dir + "/LOCK", &lock);
  if (status.ok()) return DataDirLock(used, lock);
  const std::string text = status.ToString();
  if (absl::StrContains(text, "LOCK: Resource temporarily unavailable") ||
      absl::StrContains(text, "lock hold by current process")) {
    return base::MakeError(absl::StatusCode::kUnavailable, base::Reason::kStorageUnusable,
                           absl::StrCat("data directory ", dir, " is in use by another musterd"));
  }
  return UnusableDirectory(dir, text);
}

DataDirLock::DataDirLock(DataDirLock&& other) noexcept
    : env_(other.env_), lock_(std::exchange(other.lock_, nullptr)) {}

DataDirLock::~DataDirLock() {
  if (lock_ != nullptr) env_.UnlockFile(lock_).PermitUncheckedError();
}

}  // namespace muster::storage

#include "storage/rocksdb/data_dir.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/errors.h"

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
      return base::MakeError(absl::StatusCode::kDataLoss, base::Reason::kStorageDamaged,
                             absl::StrCat("data directory ", dir.string(), " is damaged: it has ",
                                          it->path().filename().string(), " but no CURRENT"));
    }
  }
  return error ? UnusableDirectory(dir, error.message()) : absl::OkStatus();
}

}  // namespace muster::storage

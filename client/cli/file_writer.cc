#include "client/cli/file_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"

namespace muster::cli {
namespace {

absl::Status SystemError(const std::string& doing, const std::string& path) {
  const char* words = std::strerror(errno);
  return absl::UnknownError(absl::StrCat("can't ", doing, " ", path, ": ", words));
}

const char* KindName(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISLNK(mode)) return "a symbolic link";
  if (S_ISBLK(mode) || S_ISCHR(mode)) return "a device";
  return "not a regular file";
}

// Whether a file may come to be there: only a regular one is replaced, and only when asked for.
absl::Status CheckVacant(const std::string& path, bool overwrite) {
  struct stat there {};
  if (lstat(path.c_str(), &there) != 0) return absl::OkStatus();
  if (!S_ISREG(there.st_mode)) {
    return absl::AlreadyExistsError(
        absl::StrCat(path, " is ", KindName(there.st_mode), ", which is never replaced"));
  }
  if (overwrite) return absl::OkStatus();
  return absl::AlreadyExistsError(absl::StrCat(path, " exists; --force overwrites it"));
}

// A regular file that only this user can have written.
bool IsOurs(const std::string& path) {
  struct stat there {};
  return lstat(path.c_str(), &there) == 0 && S_ISREG(there.st_mode) && there.st_uid == geteuid() &&
         there.st_nlink == 1 && (there.st_mode & 0777) == 0600;
}

std::string Partial(const std::string& path) { return path + ".partial"; }

// The rename is durable once its folder is synced.
absl::Status SyncFolder(const std::string& path) {
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return SystemError("open", folder);
  const bool synced = fsync(fd) == 0;
  const absl::Status status = synced ? absl::OkStatus() : SystemError("sync", folder);
  close(fd);
  return status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FileWriter>> FileWriter::Create(const std::string& path,
                                                               bool overwrite) {
  if (absl::Status status = CheckVacant(path, overwrite); !status.ok()) return status;
  const std::string partial = Partial(path);
  // One of our own was left by a backup that was cut off.
  if (absl::Status status = CheckVacant(partial, overwrite || IsOurs(partial)); !status.ok()) {
    return status;
  }
  unlink(partial.c_str());
  // A new file, never one that is there nor what a link points to; for its owner only.
  const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  const int fd = open(partial.c_str(), flags, 0600);
  if (fd < 0) return SystemError("create", partial);
  return std::unique_ptr<FileWriter>(new FileWriter(path, overwrite, fd));
}

FileWriter::FileWriter(std::string path, bool overwrite, int fd)
    : path_(std::move(path)), overwrite_(overwrite), fd_(fd) {}

FileWriter::~FileWriter() {
  if (fd_ < 0) return;
  if (OwnsPartial()) unlink(Partial(path_).c_str());
  close(fd_);
}

bool FileWriter::OwnsPartial() const {
  struct stat mine {};
  struct stat there {};
  return fstat(fd_, &mine) == 0 && lstat(Partial(path_).c_str(), &there) == 0 &&
         mine.st_dev == there.st_dev && mine.st_ino == there.st_ino;
}

absl::Status FileWriter::Write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return SystemError("write", Partial(path_));
    bytes.remove_prefix(written);
  }
  return absl::OkStatus();
}

absl::Status FileWriter::Commit() {
  if (fsync(fd_) != 0) return SystemError("sync", Partial(path_));
  if (absl::Status status = CheckVacant(path_, overwrite_); !status.ok()) return status;
  if (!OwnsPartial()) {
    return absl::AbortedError(Partial(path_) + " was replaced meanwhile: another backup writes it");
  }
  if (std::rename(Partial(path_).c_str(), path_.c_str()) != 0)
    return SystemError("rename to", path_);
  close(std::exchange(fd_, -1));
  return SyncFolder(path_);
}

}  // namespace muster::cli

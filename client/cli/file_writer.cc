#include "client/cli/file_writer.h"

#include <fcntl.h>
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

absl::Status Exists(const std::string& path) {
  return absl::AlreadyExistsError(absl::StrCat(path, " exists; --force overwrites it"));
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
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return absl::AlreadyExistsError(path + " is a directory");
  }
  if (!overwrite && std::filesystem::exists(path, error)) return Exists(path);
  // A copy of the store is for its owner only.
  const int fd = open(Partial(path).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return SystemError("create", Partial(path));
  return std::unique_ptr<FileWriter>(new FileWriter(path, overwrite, fd));
}

FileWriter::FileWriter(std::string path, bool overwrite, int fd)
    : path_(std::move(path)), overwrite_(overwrite), fd_(fd) {}

FileWriter::~FileWriter() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(Partial(path_).c_str());
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
  std::error_code error;
  if (!overwrite_ && std::filesystem::exists(path_, error)) return Exists(path_);
  if (std::rename(Partial(path_).c_str(), path_.c_str()) != 0)
    return SystemError("rename to", path_);
  close(std::exchange(fd_, -1));
  return SyncFolder(path_);
}

}  // namespace muster::cli

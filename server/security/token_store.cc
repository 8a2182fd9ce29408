#include "server/security/token_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/log.h"
#include "base/text.h"

namespace muster::security {
namespace {

constexpr size_t kFileMax = 4 << 20;

class OpenFile {
 public:
  // Not blocking: opening a pipe by mistake would wait for its writer.
  explicit OpenFile(const std::string& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~OpenFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

absl::Status FileError(const std::string& path, std::string_view what) {
  return base::MakeError(
      absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
      absl::StrCat("token file \"", base::EscapeForTerminal(path), "\": ", base::Av(what)));
}

absl::Status SystemError(const std::string& path) {
  return FileError(path, absl::StrCat("can't be read: ", std::strerror(errno)));
}

absl::StatusOr<std::string> ReadAll(int fd, const std::string& path) {
  std::string text;
  char part[4096];
  while (true) {
    const ssize_t count = ::read(fd, part, sizeof(part));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SystemError(path);
    if (count == 0) return text;
    text.append(part, static_cast<size_t>(count));
    if (text.size() > kFileMax) {
      return FileError(path, absl::StrCat("is too large; allowed: ", kFileMax, " bytes"));
    }
  }
}

}  // namespace

TokenStore::Signature TokenStore::SignatureOf(const struct stat& info) {
  return {int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec,
          int64_t{info.st_size}, uint64_t{info.st_ino}};
}

absl::StatusOr<TokenStore::Content> TokenStore::Read() const {
  const OpenFile file(path_);
  struct stat info;
  if (file.fd() < 0 || ::fstat(file.fd(), &info) != 0) return SystemError(path_);
  if (!S_ISREG(info.st_mode)) return FileError(path_, "is no regular file");
  // The signature is taken before the bytes: a change in between is seen next time.
  auto text = ReadAll(file.fd(), path_);
  if (!text.ok()) return text.status();
  auto table = ParseTokenFile(*text);
  if (!table.ok()) return FileError(path_, base::Sv(table.status().message()));
  return Content{SignatureOf(info), *std::move(table)};
}

absl::Status TokenStore::ReadAndSwap() {
  auto content = Read();
  if (!content.ok()) {
    base::MutexLock lock(mu_);
    problem_ = std::string(content.status().message());
    return content.status();
  }
  seen_ = content->signature;
  auto table = std::make_shared<const TokenTable>(std::move(content->table));
  base::MutexLock lock(mu_);
  current_ = std::move(table);
  problem_.clear();
  generation_.fetch_add(1, std::memory_order_acq_rel);
  return absl::OkStatus();
}

absl::Status TokenStore::Load() {
  base::MutexLock lock(reload_mu_);
  return ReadAndSwap();
}

void TokenStore::ReloadIfChanged() {
  base::MutexLock lock(reload_mu_);
  const std::string before = problem();
  struct stat info;
  const bool unchanged = ::stat(path_.c_str(), &info) == 0 && SignatureOf(info) == seen_;
  // With a problem the bytes decide: a changed permission leaves time and size as they were.
  if (unchanged && before.empty()) return;
  if (ReadAndSwap().ok()) {
    base::Log(base::LogLevel::kInfo, "tokens were read again",
              {{"file", path_}, {"tokens", absl::StrCat(current()->size())}});
  } else if (problem() != before) {
    base::Log(base::LogLevel::kError, "tokens can't be read again; the ones in force stay",
              {{"problem", problem()}});
  }
}

std::shared_ptr<const TokenTable> TokenStore::current() const {
  base::MutexLock lock(mu_);
  return current_;
}

std::string TokenStore::problem() const {
  base::MutexLock lock(mu_);
  return problem_;
}

}  // namespace muster::security

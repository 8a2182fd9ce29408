#include "client/cli/tcp_probe.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/duration_text.h"

namespace muster::cli {
namespace {

absl::Status SystemError(int error) {
  return absl::UnavailableError(std::generic_category().message(error));
}

absl::Status Probe(const addrinfo& at, absl::Duration within) {
  const int fd = socket(at.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return SystemError(errno);
  absl::Status status;
  if (connect(fd, at.ai_addr, at.ai_addrlen) != 0 && errno != EINPROGRESS) {
    status = SystemError(errno);
  } else {
    pollfd ready{fd, POLLOUT, 0};
    int error = 0;
    socklen_t size = sizeof error;
    if (poll(&ready, 1, static_cast<int>(absl::ToInt64Milliseconds(within))) <= 0) {
      status = absl::DeadlineExceededError(
          absl::StrCat("no answer within ", base::FormatDuration(within)));
    } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
      status = SystemError(error);
    }
  }
  close(fd);
  return status;
}

}  // namespace

absl::Status ProbeTcp(const client::Address& address, absl::Duration within) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (error != 0) return absl::UnavailableError(gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> all(found, &freeaddrinfo);
  absl::Status status = absl::UnavailableError("it has no address");
  for (const addrinfo* at = found; at != nullptr && !status.ok(); at = at->ai_next) {
    status = Probe(*at, within);
  }
  return status;
}

}  // namespace muster::cli

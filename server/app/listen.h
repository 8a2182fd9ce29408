// Listening TCP sockets of one address, and the descriptors that own them.
//
//   auto sockets = Listen({"localhost", 0}, absl::Seconds(10));
//   ... accept4(sockets->listeners[0].get(), ...) ...
//
// A name is listened on at all of its addresses, on one port. 0.0.0.0 and :: both mean all
// addresses of both families. An address that this machine doesn't have is left out, with a
// warning, when another one works. A port that somebody listens on already is an error.
//
// Thread safety: pure. Errors: UNAVAILABLE that names the address and the cause. Blocks while a
// name is looked up.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/net_address.h"

namespace muster::app {

// Closes it at the end of its life. -1: none.
class OwnedFd {
 public:
  explicit OwnedFd(int fd = -1) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(other.Release()) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~OwnedFd();

  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

struct ListeningSockets {
  std::vector<OwnedFd> listeners;  // never blocking, closed on exec
  uint16_t port = 0;
};

// Port 0 picks a free one. Accepted sockets inherit TCP_NODELAY, and that a connection is given up
// when what was sent is not acknowledged for `unacknowledged`.
absl::StatusOr<ListeningSockets> Listen(const base::HostPort& address,
                                        absl::Duration unacknowledged);

}  // namespace muster::app

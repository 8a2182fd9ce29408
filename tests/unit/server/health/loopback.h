// Sockets of loopback for tests.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace muster::health {

// Listens on a free port of an address of 127.0.0.0/8.
class Listener {
 public:
  explicit Listener(const std::string& address = "127.0.0.1", int backlog = 64, uint16_t port = 0)
      : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int on = 1;
    setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    sockaddr_in at{.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, address.c_str(), &at.sin_addr);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&at), sizeof(at)), 0);
    EXPECT_EQ(::listen(fd_, backlog), 0);
    socklen_t size = sizeof(at);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size);
    port_ = ntohs(at.sin_port);
    address_ = at;
  }
  ~Listener() { close(fd_); }
  Listener(const Listener&) = delete;

  int fd() const { return fd_; }
  uint16_t port() const { return port_; }
  const sockaddr_in& address() const { return address_; }

 private:
  const int fd_;
  uint16_t port_ = 0;
  sockaddr_in address_{};
};

// A port that nobody listens on.
inline uint16_t ClosedPort() { return Listener().port(); }

// Neither accepts nor refuses connections: its queue is full, and the kernel drops what asks.
class Swallowing {
 public:
  explicit Swallowing(const std::string& address = "127.0.0.1", uint16_t port = 0)
      : listener_(address, 0, port) {
    for (int i = 0; i < 3; ++i) {
      const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      const sockaddr_in& at = listener_.address();
      static_cast<void>(::connect(fd, reinterpret_cast<const sockaddr*>(&at), sizeof(at)));
      fds_.push_back(fd);
    }
  }
  ~Swallowing() {
    for (const int fd : fds_) close(fd);
  }
  uint16_t port() const { return listener_.port(); }

 private:
  const Listener listener_;
  std::vector<int> fds_;
};

}  // namespace muster::health

// Targets of probes for tests: TCP servers of loopback that do what a script says, byte for byte.
#pragma once

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "base/mutex.h"
#include "tests/unit/server/health/loopback.h"

namespace muster::health {

// A connection that a target has accepted. It is closed when the script returns.
class Accepted {
 public:
  Accepted(int fd, int stop) : fd_(fd), stop_(stop) {}
  ~Accepted() {
    if (ssl_ != nullptr) SSL_free(ssl_);
    close(fd_);
  }
  Accepted(const Accepted&) = delete;

  // False: the handshake failed.
  bool Handshake(SSL_CTX* context) {
    ssl_ = SSL_new(context);
    SSL_set_fd(ssl_, fd_);
    return Wait(POLLIN, absl::Seconds(20)) && SSL_accept(ssl_) == 1;
  }
  const char* server_name() const { return SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name); }

  // Up to and with the end of the head, and what came along.
  std::string ReadRequest() {
    std::string out;
    while (out.find("\r\n\r\n") == std::string::npos) {
      char part[8192];
      const auto count = Read(part, sizeof(part));
      if (count <= 0) break;
      out.append(part, static_cast<size_t>(count));
    }
    return out;
  }
  // False: the other side is gone.
  bool Send(std::string_view text) {
    while (!text.empty()) {
      const auto count = Write(text);
      if (count <= 0) return false;
      text.remove_prefix(static_cast<size_t>(count));
    }
    return true;
  }
  // Until the other side is gone.
  bool WaitForClose(absl::Duration limit = absl::Seconds(20)) { return Wait(POLLRDHUP, limit); }
  // The bytes of `text` one by one, until the other side is gone.
  void SendSlowly(std::string_view text, absl::Duration pause) {
    for (const char& byte : text) {
      if (!Send({&byte, 1}) || WaitForClose(pause)) return;
    }
  }
  void Reset() {
    const linger hard{.l_onoff = 1, .l_linger = 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  }

 private:
  bool Wait(short events, absl::Duration limit) {
    pollfd ready[] = {{fd_, events, 0}, {stop_, POLLIN, 0}};
    return poll(ready, 2, static_cast<int>(absl::ToInt64Milliseconds(limit))) > 0;
  }
  ssize_t Read(char* into, size_t size) {
    if (ssl_ != nullptr) return SSL_read(ssl_, into, static_cast<int>(size));
    return Wait(POLLIN, absl::Seconds(20)) ? recv(fd_, into, size, MSG_DONTWAIT) : 0;
  }
  ssize_t Write(std::string_view text) {
    if (ssl_ != nullptr) return SSL_write(ssl_, text.data(), static_cast<int>(text.size()));
    return Wait(POLLOUT, absl::Seconds(20))
               ? send(fd_, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL)
               : 0;
  }

  const int fd_;
  const int stop_;
  SSL* ssl_ = nullptr;
};

// Accepts connections one after the other, each for one run of the script.
class TestTarget {
 public:
  using Script = std::function<void(Accepted&)>;

  explicit TestTarget(Script script, const std::string& address = "127.0.0.1")
      : listener_(address), script_(std::move(script)), thread_([this] { Serve(); }) {}
  // Answers each request with `answer`.
  explicit TestTarget(std::string answer)
      : TestTarget([this, answer = std::move(answer)](Accepted& accepted) {
          Note(accepted.ReadRequest());
          accepted.Send(answer);
        }) {}
  ~TestTarget() {
    eventfd_write(stop_, 1);
    thread_.join();
    close(stop_);
  }

  uint16_t port() const { return listener_.port(); }
  int accepted() const { return accepted_; }
  void Note(std::string request) {
    base::MutexLock lock(mu_);
    requests_.push_back(std::move(request));
  }
  std::vector<std::string> requests() {
    base::MutexLock lock(mu_);
    return requests_;
  }

 private:
  void Serve() {
    for (;;) {
      pollfd ready[] = {{listener_.fd(), POLLIN, 0}, {stop_, POLLIN, 0}};
      if (poll(ready, 2, -1) < 0 || ready[1].revents != 0) return;
      const int fd = accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      ++accepted_;
      Accepted accepted(fd, stop_);
      script_(accepted);
    }
  }

  const Listener listener_;
  const int stop_ = eventfd(0, EFD_CLOEXEC);
  std::atomic<int> accepted_{0};
  base::Mutex mu_;
  std::vector<std::string> requests_ MUSTER_GUARDED_BY(mu_);
  const Script script_;
  std::thread thread_;
};

// A certificate for servers.
class ServerTls {
 public:
  ServerTls(const std::string& cert, const std::string& key)
      : context_(SSL_CTX_new(TLS_server_method())) {
    // OpenSSL writes to a connection that the other side has closed.
    signal(SIGPIPE, SIG_IGN);
    EXPECT_EQ(SSL_CTX_use_certificate_chain_file(context_, cert.c_str()), 1);
    EXPECT_EQ(SSL_CTX_use_PrivateKey_file(context_, key.c_str(), SSL_FILETYPE_PEM), 1);
  }
  ~ServerTls() { SSL_CTX_free(context_); }
  ServerTls(const ServerTls&) = delete;
  SSL_CTX* get() const { return context_; }

 private:
  SSL_CTX* const context_;
};

}  // namespace muster::health

#include "tests/fault/tcp_gate.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "tests/support/process.h"

namespace muster::test {
namespace {

constexpr size_t kMaxConnections = 256;
constexpr size_t kMaxBuffered = 256 << 10;
constexpr int kRoundMs = 1;

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void MakeReady(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  ::fcntl(fd, F_SETFL, O_NONBLOCK);
}

// The other side learns at once: a reset.
void Reset(int fd) {
  const linger at_once{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  ::close(fd);
}

}  // namespace

TcpGate::TcpGate(int target_port) : target_port_(target_port) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::listen(listener_, 128), 0);
  EXPECT_EQ(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size), 0);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { Run(); });
}

TcpGate::~TcpGate() {
  {
    base::MutexLock lock(mu_);
    stopped_ = true;
  }
  thread_.join();
  Cut();
  ::close(listener_);
}

std::string TcpGate::address() const { return absl::StrCat("127.0.0.1:", port_); }

void TcpGate::SetSpoil(const Spoil& spoil) {
  base::MutexLock lock(mu_);
  spoil_ = spoil;
}

void TcpGate::Stall(bool stalled) {
  base::MutexLock lock(mu_);
  stalled_ = stalled;
}

void TcpGate::Refuse(bool refused) {
  base::MutexLock lock(mu_);
  refused_ = refused;
}

void TcpGate::Cut() {
  base::MutexLock lock(mu_);
  for (Connection& connection : connections_) {
    Reset(connection.ways[0].from);
    Reset(connection.ways[1].from);
  }
  connections_.clear();
}

uint64_t TcpGate::connections() const {
  base::MutexLock lock(mu_);
  return taken_;
}

uint64_t TcpGate::bytes() const {
  base::MutexLock lock(mu_);
  return bytes_;
}

void TcpGate::Accept() {
  const int in = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (in < 0) return;
  const int out = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in target = Loopback(target_port_);
  if (refused_ || connections_.size() >= kMaxConnections ||
      ::connect(out, reinterpret_cast<const sockaddr*>(&target), sizeof(target)) != 0) {
    Reset(in);
    ::close(out);
    return;
  }
  MakeReady(in);
  MakeReady(out);
  ++taken_;
  Connection& connection = connections_.emplace_back();
  connection.ways[0].from = connection.ways[1].to = in;
  connection.ways[0].to = connection.ways[1].from = out;
}

void TcpGate::Receive(Way& way, Connection& connection, absl::Time now) {
  while (!way.ended && way.buffered < kMaxBuffered) {
    char bytes[16 << 10];
    const ssize_t got = ::recv(way.from, bytes, sizeof(bytes), 0);
    if (got == 0) way.ended = true;
    if (got < 0 && errno != EAGAIN && errno != EINTR) connection.broken = true;
    if (got <= 0) return;
    way.chunks.push_back({now + spoil_.delay, std::string(bytes, static_cast<size_t>(got))});
    way.buffered += static_cast<size_t>(got);
  }
}

void TcpGate::Send(Way& way, Connection& connection, absl::Time now) {
  while (!way.chunks.empty() && way.chunks.front().ready <= now && way.next_slice <= now) {
    std::string& bytes = way.chunks.front().bytes;
    size_t size =
        spoil_.slice_bytes == 0 ? bytes.size() : std::min(spoil_.slice_bytes, bytes.size());
    if (spoil_.cut_after_bytes > 0) {
      if (connection.passed >= spoil_.cut_after_bytes) {
        connection.broken = true;
        return;
      }
      size = std::min<size_t>(size, spoil_.cut_after_bytes - connection.passed);
    }
    const ssize_t sent = ::send(way.to, bytes.data(), size, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) connection.broken = true;
    if (sent <= 0) return;
    const auto count = static_cast<size_t>(sent);
    bytes.erase(0, count);
    way.buffered -= count;
    bytes_ += count;
    connection.passed += count;
    if (bytes.empty()) way.chunks.pop_front();
    if (spoil_.slice_bytes > 0) way.next_slice = now + absl::Milliseconds(kRoundMs);
  }
  if (way.ended && way.chunks.empty() && !way.shut) {
    ::shutdown(way.to, SHUT_WR);
    way.shut = true;
  }
}

void TcpGate::Pass(absl::Time now) {
  for (auto it = connections_.begin(); it != connections_.end();) {
    for (Way& way : it->ways) Receive(way, *it, now);
    for (Way& way : it->ways) Send(way, *it, now);
    if (it->broken || (it->ways[0].shut && it->ways[1].shut)) {
      Reset(it->ways[0].from);
      Reset(it->ways[1].from);
      it = connections_.erase(it);
    } else {
      ++it;
    }
  }
}

std::vector<pollfd> TcpGate::Awaited() const {
  std::vector<pollfd> awaited = {{listener_, POLLIN, 0}};
  for (const Connection& connection : connections_) {
    for (const Way& way : connection.ways) {
      if (!stalled_ && !way.ended && way.buffered < kMaxBuffered) {
        awaited.push_back({way.from, POLLIN, 0});
      }
    }
  }
  return awaited;
}

void TcpGate::Run() {
  while (true) {
    std::vector<pollfd> awaited;
    bool waiting = false;
    {
      base::MutexLock lock(mu_);
      if (stopped_) return;
      awaited = Awaited();
      for (const Connection& connection : connections_) {
        for (const Way& way : connection.ways) waiting |= !way.chunks.empty();
      }
    }
    ::poll(awaited.data(), awaited.size(), waiting ? kRoundMs : 10);
    base::MutexLock lock(mu_);
    Accept();
    if (!stalled_) Pass(Now());
  }
}

}  // namespace muster::test

#include "server/rpc/corks.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstdint>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/executor.h"

namespace muster::rpc {
namespace {

void SetCork(int fd, int on) { setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)); }

// What the present task of this thread has answered.
struct Burst {
  struct To {
    std::string peer;
    bool corked = false;
    int fd = -1;
  };
  absl::InlinedVector<To, 8> to;
  size_t replies = 0;
  bool ends_with_task = false;

  // Null, and known from then on: it has had no answer of this task.
  To* Again(std::string&& peer) {
    for (To& known : to) {
      if (known.peer == peer) return &known;
    }
    to.push_back({std::move(peer)});
    return nullptr;
  }
  void Send() {
    for (To& one : to) {
      if (std::exchange(one.corked, false)) SetCork(one.fd, 0);
    }
    if (to.size() > Corks::kGathered) to.clear();
    replies = 0;
  }
};

Burst& OfThisThread() {
  thread_local Burst burst;
  return burst;
}

// As ServerContext::peer() says it, but for the brackets, which that may write as %5B and %5D.
std::string PeerOf(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return "";
  char text[INET6_ADDRSTRLEN] = "";
  if (storage.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
    return absl::StrCat("ipv4:", text, ":", ntohs(v4.sin_port));
  }
  if (storage.ss_family != AF_INET6) return "";
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text, sizeof(text));
    return absl::StrCat("ipv4:", text, ":", ntohs(v6.sin6_port));
  }
  inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
  return absl::StrCat("ipv6:[", text, "]:", ntohs(v6.sin6_port));
}

}  // namespace

void Corks::Add(int fd) {
  std::string peer = PeerOf(fd);
  const auto at = static_cast<size_t>(fd);
  base::MutexLock lock(mu_);
  if (at >= peers_.size()) peers_.resize(at + 1);
  if (const auto before = by_peer_.find(peers_[at]);
      before != by_peer_.end() && before->second == fd) {
    by_peer_.erase(before);
  }
  peers_[at] = std::move(peer);
  if (!peers_[at].empty()) by_peer_[peers_[at]] = fd;
}

int Corks::Find(const std::string& peer) const {
  const std::string key = absl::StrReplaceAll(peer, {{"%5B", "["}, {"%5D", "]"}});
  base::MutexLock lock(mu_);
  const auto it = by_peer_.find(key);
  return it == by_peer_.end() ? -1 : it->second;
}

void Corks::BeforeReply(absl::FunctionRef<std::string()> peer) const {
  if (!base::SerialExecutor::RunsATask()) return;
  Burst& burst = OfThisThread();
  if (burst.replies == kGathered) burst.Send();
  ++burst.replies;
  if (!std::exchange(burst.ends_with_task, true)) {
    base::SerialExecutor::AfterTask([] {
      Burst& ended = OfThisThread();
      ended.Send();
      ended.to.clear();
      ended.ends_with_task = false;
    });
  }
  Burst::To* const to = burst.Again(peer());
  if (to == nullptr || to->corked) return;
  if (to->fd < 0) to->fd = Find(to->peer);
  if (to->fd < 0) return;
  SetCork(to->fd, 1);
  to->corked = true;
}

}  // namespace muster::rpc

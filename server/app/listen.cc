#include "server/app/listen.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/log.h"

namespace muster::app {
namespace {

// Another process may take the port that was free at one address of a name at the next one.
constexpr int kAttempts = 16;

struct Endpoint {
  sockaddr_storage address{};
  socklen_t size = 0;
  int family() const { return address.ss_family; }
};

std::string ErrorText(int error) { return std::generic_category().message(error); }

Endpoint MakeEndpoint(const sockaddr* address, socklen_t size) {
  Endpoint out;
  std::memcpy(&out.address, address, size);
  out.size = size;
  return out;
}

Endpoint Wildcard(int family) {
  if (family == AF_INET) {
    sockaddr_in any{};
    any.sin_family = AF_INET;
    return MakeEndpoint(reinterpret_cast<const sockaddr*>(&any), sizeof(any));
  }
  sockaddr_in6 any{};
  any.sin6_family = AF_INET6;
  any.sin6_addr = in6addr_any;
  return MakeEndpoint(reinterpret_cast<const sockaddr*>(&any), sizeof(any));
}

std::string HostText(const Endpoint& endpoint) {
  char host[NI_MAXHOST] = "?";
  getnameinfo(reinterpret_cast<const sockaddr*>(&endpoint.address), endpoint.size, host,
              sizeof(host), nullptr, 0, NI_NUMERICHOST);
  return host;
}

void SetPort(uint16_t port, Endpoint& endpoint) {
  // The port is at the same place in both families.
  reinterpret_cast<sockaddr_in&>(endpoint.address).sin_port = htons(port);
}

uint16_t PortOf(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

absl::StatusOr<std::vector<Endpoint>> Resolve(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(host.c_str(), nullptr, &hints, &list);
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, freeaddrinfo);
  if (error != 0) return absl::UnavailableError(gai_strerror(error));
  std::vector<Endpoint> out;
  for (const addrinfo* at = list; at != nullptr; at = at->ai_next) {
    if (at->ai_family != AF_INET && at->ai_family != AF_INET6) continue;
    const Endpoint endpoint = MakeEndpoint(at->ai_addr, at->ai_addrlen);
    bool known = false;
    for (const Endpoint& other : out) known = known || HostText(other) == HostText(endpoint);
    if (!known) out.push_back(endpoint);
  }
  return out;
}

bool SetOption(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

// 0, or why not.
int OpenListener(const Endpoint& endpoint, absl::Duration unacknowledged, OwnedFd& out) {
  OwnedFd fd(socket(endpoint.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return errno;
  const int unacknowledged_ms = static_cast<int>(absl::ToInt64Milliseconds(unacknowledged));
  // Without SO_REUSEADDR a restart would wait for the connections of the life before to fade away.
  // No SO_REUSEPORT: two servers on one port would each get a part of the calls.
  if (!SetOption(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1) ||
      (endpoint.family() == AF_INET6 && !SetOption(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0)) ||
      !SetOption(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1) ||
      !SetOption(fd.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, unacknowledged_ms) ||
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&endpoint.address), endpoint.size) != 0 ||
      // The kernel cuts it down to net.core.somaxconn.
      ::listen(fd.get(), 1 << 16) != 0) {
    return errno;
  }
  out = std::move(fd);
  return 0;
}

// All of them on one port. EADDRINUSE of one is an error of the whole: who connects to that one
// would get another server.
absl::StatusOr<ListeningSockets> ListenOnAll(std::vector<Endpoint> endpoints, uint16_t port,
                                             absl::Duration unacknowledged) {
  ListeningSockets out;
  out.port = port;
  std::string failures;
  for (Endpoint& endpoint : endpoints) {
    SetPort(out.port, endpoint);
    OwnedFd listener;
    const int error = OpenListener(endpoint, unacknowledged, listener);
    if (error == EADDRINUSE) return absl::AlreadyExistsError(ErrorText(error));
    if (error != 0) {
      absl::StrAppend(&failures, failures.empty() ? "" : ", ", HostText(endpoint), ": ",
                      ErrorText(error));
      continue;
    }
    out.port = PortOf(listener.get());
    out.listeners.push_back(std::move(listener));
  }
  if (out.listeners.empty()) return absl::UnavailableError(failures);
  if (!failures.empty()) {
    base::Log(base::LogLevel::kWarn, "not listening on every address", {{"error", failures}});
  }
  return out;
}

// One socket for both families; where there is no IPv6, IPv4 alone.
absl::StatusOr<ListeningSockets> ListenOnEvery(uint16_t port, absl::Duration unacknowledged) {
  auto both = ListenOnAll({Wildcard(AF_INET6)}, port, unacknowledged);
  if (both.ok() || absl::IsAlreadyExists(both.status())) return both;
  return ListenOnAll({Wildcard(AF_INET)}, port, unacknowledged);
}

absl::StatusOr<ListeningSockets> ListenOn(const base::HostPort& address,
                                          absl::Duration unacknowledged) {
  const auto endpoints = Resolve(address.host);
  if (!endpoints.ok()) return endpoints.status();
  for (const Endpoint& endpoint : *endpoints) {
    if (base::IsUnspecified(HostText(endpoint))) return ListenOnEvery(address.port, unacknowledged);
  }
  auto sockets = ListenOnAll(*endpoints, address.port, unacknowledged);
  for (int i = 1; i < kAttempts && address.port == 0 && absl::IsAlreadyExists(sockets.status());
       ++i) {
    sockets = ListenOnAll(*endpoints, address.port, unacknowledged);
  }
  return sockets;
}

}  // namespace

OwnedFd::~OwnedFd() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<ListeningSockets> Listen(const base::HostPort& address,
                                        absl::Duration unacknowledged) {
  auto sockets = ListenOn(address, unacknowledged);
  if (sockets.ok()) return sockets;
  return base::MakeError(
      absl::StatusCode::kUnavailable, base::Reason::kInvalidField,
      absl::StrCat("grpc_listen: can't listen on ", base::FormatHostPort(address), ": ",
                   sockets.status().message()));
}

}  // namespace muster::app

// Plain TCP clients for tests of the listeners.
#pragma once

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <string>

#include "server/app/listen.h"

namespace muster::app {

// A connection to a literal address; -1 inside when it was refused.
inline OwnedFd Connect(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* at = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &at) != 0) return OwnedFd();
  OwnedFd fd(socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const bool connected = ::connect(fd.get(), at->ai_addr, at->ai_addrlen) == 0;
  freeaddrinfo(at);
  return connected ? std::move(fd) : OwnedFd();
}

// The other side closed it, within 10 s.
inline bool HungUp(const OwnedFd& fd) {
  pollfd ready{fd.get(), POLLIN, 0};
  char byte = 0;
  return poll(&ready, 1, 10'000) == 1 && recv(fd.get(), &byte, 1, 0) <= 0;
}

}  // namespace muster::app

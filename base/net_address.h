// host:port texts. No sockets, no name resolution.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace muster::base {

struct HostPort {
  std::string host;  // IPv6 without brackets
  uint16_t port = 0;
};

// "127.0.0.1:8502", "[::1]:8502", "db.example:5432". Errors: INVALID_ARGUMENT that quotes the text.
absl::StatusOr<HostPort> ParseHostPort(std::string_view text);
std::string FormatHostPort(const HostPort& address);

enum class IpKind : uint8_t { kNone, kUnspecified, kLoopback, kOther };
// kNone: no IP address. kUnspecified: 0.0.0.0, :: and ::ffff:0.0.0.0. kLoopback: 127.0.0.0/8, ::1
// and ::ffff:127.0.0.0/104.
IpKind KindOfIp(std::string_view host);

bool IsIpLiteral(std::string_view host);
// Of kind kLoopback, or the name localhost.
bool IsLoopback(std::string_view host);
bool IsUnspecified(std::string_view host);

}  // namespace muster::base

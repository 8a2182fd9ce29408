#include "base/net_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/text.h"

namespace muster::base {
namespace {

using Bytes = std::array<uint8_t, 16>;

// IPv4 as ::ffff:a.b.c.d.
std::optional<Bytes> ParseIp(std::string_view host) {
  const std::string text(host);
  if (absl::StrContains(Av(host), '\0')) return std::nullopt;  // inet_pton would stop there
  Bytes out{};
  in_addr v4;
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) {
    out[10] = out[11] = 0xFF;
    const auto* bytes = reinterpret_cast<const uint8_t*>(&v4);
    std::copy(bytes, bytes + 4, out.begin() + 12);
    return out;
  }
  if (inet_pton(AF_INET6, text.c_str(), out.data()) == 1) return out;
  return std::nullopt;
}

bool IsMappedV4(const Bytes& ip) {
  return std::all_of(ip.begin(), ip.begin() + 10, [](uint8_t b) { return b == 0; }) &&
         ip[10] == 0xFF && ip[11] == 0xFF;
}

bool IsHostName(std::string_view host) {
  return std::all_of(host.begin(), host.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == '_';
  });
}

absl::Status NoAddress(std::string_view text) {
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kInvalidField,
                   absl::StrCat("\"", EscapeForTerminal(text.substr(0, 128)),
                                "\" is no address; allowed: HOST:PORT or [IPV6]:PORT, port 0 to "
                                "65535"));
}

}  // namespace

absl::StatusOr<HostPort> ParseHostPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return NoAddress(text);
  std::string_view host = text.substr(0, colon);
  const std::string_view port_text = text.substr(colon + 1);
  uint32_t port = 0;
  const bool digits =
      !port_text.empty() && std::all_of(port_text.begin(), port_text.end(), absl::ascii_isdigit);
  if (!digits || !absl::SimpleAtoi(Av(port_text), &port) || port > 65535) return NoAddress(text);
  const bool bracketed = absl::StartsWith(Av(host), "[") && absl::EndsWith(Av(host), "]");
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty() || (bracketed && !absl::StrContains(Av(host), ':'))) return NoAddress(text);
  if (bracketed ? !IsIpLiteral(host) : !IsHostName(host)) return NoAddress(text);
  return HostPort{std::string(host), static_cast<uint16_t>(port)};
}

std::string FormatHostPort(const HostPort& address) {
  const bool v6 = absl::StrContains(address.host, ':');
  return absl::StrCat(v6 ? "[" : "", address.host, v6 ? "]:" : ":", address.port);
}

IpKind KindOfIp(std::string_view host) {
  const auto ip = ParseIp(host);
  if (!ip) return IpKind::kNone;
  const bool v4 = IsMappedV4(*ip);
  const bool all_but_last_zero =
      std::all_of(ip->begin() + (v4 ? 12 : 0), ip->begin() + 15, [](uint8_t b) { return b == 0; });
  const uint8_t last = ip->back();
  if (all_but_last_zero && last == 0) return IpKind::kUnspecified;
  const bool loopback = v4 ? (*ip)[12] == 127 : all_but_last_zero && last == 1;
  return loopback ? IpKind::kLoopback : IpKind::kOther;
}

bool IsIpLiteral(std::string_view host) { return KindOfIp(host) != IpKind::kNone; }

bool IsLoopback(std::string_view host) {
  return absl::EqualsIgnoreCase(Av(host), "localhost") || KindOfIp(host) == IpKind::kLoopback;
}

bool IsUnspecified(std::string_view host) { return KindOfIp(host) == IpKind::kUnspecified; }

}  // namespace muster::base

// Where probes may go. A registrant names what is probed, so without a guard it could make the
// server send requests to places that only the server can reach.
//
//   absl::StatusOr<TargetGuard> guard = TargetGuard::Make(config.health(), loopback_ok);
//   if (absl::Status s = guard->Allow(endpoint); !s.ok()) ...
//
// Refused unless named: "this network" (0.0.0.0/8, ::), loopback, link-local addresses, multicast,
// broadcast, Teredo, and the addresses of clouds' metadata. An IPv6 address that stands for an IPv4
// one (mapped, translated, NAT64, 6to4, compatible) is refused where that is. With an allow list,
// only what it holds is allowed, and of what is refused by default only what an entry names that
// lies wholly within it: 0.0.0.0/0 opens no loopback, 127.0.0.0/8 does.
//
// What is asked about is the address that is connected to, never a name: a name that resolves to
// something else the next time gains nothing.
//
// Thread safety: const after Make. Cost: a few comparisons for each entry of the list.
// Errors: Make: INVALID_ARGUMENT that names the entry. Allow: PERMISSION_DENIED that names the
// address or port and why.
#pragma once

#include <array>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "muster/config/v1/config.pb.h"

namespace muster::health {

// A block of addresses of one family. An IPv4-mapped one is the IPv4 one.
struct Cidr {
  bool v4 = false;
  std::array<uint8_t, 16> bytes{};  // of an IPv4 one the first four
  unsigned length = 0;              // of the prefix, in bits

  static Cidr Of(const boost::asio::ip::address& address);
  // "10.0.0.0/8", "fd00::/8"; nothing behind the prefix may be set.
  static std::optional<Cidr> Parse(std::string_view text);

  bool Holds(const Cidr& other) const;
};

class TargetGuard {
 public:
  // `loopback_ok`: loopback isn't refused by default.
  static absl::StatusOr<TargetGuard> Make(const config::v1::Health& config, bool loopback_ok);

  absl::Status Allow(const boost::asio::ip::tcp::endpoint& target) const;

 private:
  struct PortRange {
    uint16_t first;
    uint16_t last;
  };

  explicit TargetGuard(bool loopback_ok) : loopback_ok_(loopback_ok) {}
  bool PortAllowed(uint16_t port) const;
  // An entry of the list that lies within `refused` holds `target`.
  bool Named(const Cidr& target, const Cidr& refused) const;

  bool loopback_ok_;
  std::vector<Cidr> allow_;
  std::vector<PortRange> ports_;
};

}  // namespace muster::health

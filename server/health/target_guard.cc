#include "server/health/target_guard.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/text.h"

namespace muster::health {
namespace {

namespace ip = boost::asio::ip;

struct Refused {
  Cidr block;
  std::string_view what;
  bool loopback = false;
};

Cidr Block(std::string_view text) { return *Cidr::Parse(text); }

const std::vector<Refused>& RefusedBlocks() {
  static const auto* const blocks = new std::vector<Refused>{
      {Block("0.0.0.0/8"), "no address of a target"},
      {Block("::/128"), "no address of a target"},
      {Block("127.0.0.0/8"), "loopback", true},
      {Block("::1/128"), "loopback", true},
      {Block("169.254.169.254/32"), "metadata of a cloud"},
      {Block("fd00:ec2::/32"), "metadata of a cloud"},
      {Block("fd20:ce::254/128"), "metadata of a cloud"},
      {Block("fd00:c1::a9fe:a9fe/128"), "metadata of a cloud"},
      {Block("fd00:42::42/128"), "metadata of a cloud"},
      {Block("100.100.100.200/32"), "metadata of a cloud"},
      {Block("168.63.129.16/32"), "metadata of a cloud"},
      {Block("192.0.0.192/32"), "metadata of a cloud"},
      {Block("169.254.0.0/16"), "link-local"},
      {Block("fe80::/10"), "link-local"},
      {Block("224.0.0.0/4"), "multicast"},
      {Block("ff00::/8"), "multicast"},
      {Block("fec0::/10"), "site-local"},
      {Block("255.255.255.255/32"), "broadcast"},
      {Block("240.0.0.0/4"), "reserved"},
      {Block("2001::/32"), "Teredo"},
  };
  return *blocks;
}

// IPv6 blocks whose addresses hold an IPv4 address, right behind the prefix.
const std::vector<Cidr>& Embeddings() {
  static const auto* const blocks = new std::vector<Cidr>{
      Block("64:ff9b::/96"),     // NAT64
      Block("64:ff9b:1::/96"),   // NAT64 of one's own (RFC 8215), as it is mostly used
      Block("::ffff:0:0:0/96"),  // translated
      Block("::/96"),            // compatible
      Block("2002::/16"),        // 6to4
  };
  return *blocks;
}

bool SameBits(const Cidr& a, const Cidr& b, unsigned bits) {
  const unsigned whole = bits / 8;
  if (!std::equal(a.bytes.begin(), a.bytes.begin() + whole, b.bytes.begin())) return false;
  if (bits % 8 == 0) return true;
  const auto mask = static_cast<uint8_t>(0xFF00U >> (bits % 8));
  return ((a.bytes[whole] ^ b.bytes[whole]) & mask) == 0;
}

// The IPv4 block that an IPv6 one stands for.
std::optional<Cidr> Embedded(const Cidr& block) {
  if (block.v4) return std::nullopt;
  for (const Cidr& embedding : Embeddings()) {
    if (!embedding.Holds(block)) continue;
    Cidr v4{.v4 = true, .length = std::min(block.length - embedding.length, 32U)};
    std::copy_n(block.bytes.begin() + embedding.length / 8, 4, v4.bytes.begin());
    return v4;
  }
  return std::nullopt;
}

// :: and ::1 are themselves, and not 0.0.0.0 and 0.0.0.1.
bool StandsForItself(const Cidr& target) {
  return !target.v4 &&
         std::all_of(target.bytes.begin(), target.bytes.begin() + 15,
                     [](uint8_t byte) { return byte == 0; }) &&
         target.bytes[15] <= 1;
}

absl::Status BadEntry(std::string_view field, int index, std::string_view text,
                      std::string_view allowed) {
  const std::string name = absl::StrCat(base::Av(field), "[", index, "]");
  return base::WithField(
      base::MakeError(
          absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
          absl::StrCat(name, " is ", base::Quoted(text), "; allowed: ", base::Av(allowed))),
      name);
}

std::optional<uint16_t> ParsePort(std::string_view text) {
  uint32_t port = 0;
  const bool digits = !text.empty() && text.size() <= 5 &&
                      std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
  if (!digits || !absl::SimpleAtoi(base::Av(text), &port) || port == 0 || port > 65535) {
    return std::nullopt;
  }
  return static_cast<uint16_t>(port);
}

std::optional<std::pair<uint16_t, uint16_t>> ParsePorts(std::string_view text) {
  const size_t dash = text.find('-');
  const auto first = ParsePort(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : ParsePort(text.substr(dash + 1));
  if (!first || !last || *first > *last) return std::nullopt;
  return std::pair(*first, *last);
}

absl::Status NotAllowed(std::string_view what, std::string_view why) {
  return absl::PermissionDeniedError(
      absl::StrCat(base::Av(what), " may not be probed: ", base::Av(why)));
}

}  // namespace

Cidr Cidr::Of(const ip::address& address) {
  Cidr out;
  const auto take = [&out](const auto& bytes) {
    std::copy(bytes.begin(), bytes.end(), out.bytes.begin());
    out.length = static_cast<unsigned>(bytes.size() * 8);
  };
  if (address.is_v6() && !address.to_v6().is_v4_mapped()) {
    take(address.to_v6().to_bytes());
    return out;
  }
  out.v4 = true;
  take(address.is_v4() ? address.to_v4().to_bytes()
                       : ip::make_address_v4(ip::v4_mapped, address.to_v6()).to_bytes());
  return out;
}

std::optional<Cidr> Cidr::Parse(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos || text.find('%') != std::string_view::npos) {
    return std::nullopt;
  }
  boost::system::error_code error;
  const auto address = ip::make_address(std::string(text.substr(0, slash)), error);
  const std::string_view digits = text.substr(slash + 1);
  unsigned length = 0;
  if (error || digits.empty() || digits.size() > 3 ||
      !std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) ||
      !absl::SimpleAtoi(base::Av(digits), &length) || length > (address.is_v4() ? 32U : 128U)) {
    return std::nullopt;
  }
  Cidr out = Of(address);
  if (out.v4 && address.is_v6()) {
    if (length < 96) return std::nullopt;
    length -= 96;
  }
  Cidr cut = out;
  for (unsigned bit = length; bit < out.length; ++bit) {
    cut.bytes[bit / 8] &= static_cast<uint8_t>(~(0x80U >> (bit % 8)));
  }
  if (cut.bytes != out.bytes) return std::nullopt;
  out.length = length;
  return out;
}

bool Cidr::Holds(const Cidr& other) const {
  return v4 == other.v4 && length <= other.length && SameBits(*this, other, length);
}

absl::StatusOr<TargetGuard> TargetGuard::Make(const config::v1::Health& config, bool loopback_ok) {
  TargetGuard guard(loopback_ok);
  for (int i = 0; i < config.allow_size(); ++i) {
    const auto block = Cidr::Parse(config.allow(i));
    if (!block) {
      return BadEntry("health.allow", i, config.allow(i), "CIDRs such as 10.0.0.0/8 or fd00::/8");
    }
    guard.allow_.push_back(*block);
  }
  for (int i = 0; i < config.ports_size(); ++i) {
    const auto range = ParsePorts(config.ports(i));
    if (!range) {
      return BadEntry("health.ports", i, config.ports(i),
                      "ports such as 443 and ranges such as 8000-8999, of 1 to 65535");
    }
    guard.ports_.push_back({range->first, range->second});
  }
  return guard;
}

bool TargetGuard::PortAllowed(uint16_t port) const {
  if (port == 0) return false;
  return ports_.empty() || std::any_of(ports_.begin(), ports_.end(), [port](PortRange range) {
           return range.first <= port && port <= range.last;
         });
}

bool TargetGuard::Named(const Cidr& target, const Cidr& refused) const {
  return std::any_of(allow_.begin(), allow_.end(), [&](const Cidr& entry) {
    if (!entry.Holds(target)) return false;
    if (refused.Holds(entry)) return true;
    const auto embedded = Embedded(entry);
    return embedded.has_value() && refused.Holds(*embedded);
  });
}

absl::Status TargetGuard::Allow(const ip::tcp::endpoint& target) const {
  const std::string text = target.address().to_string();
  if (!PortAllowed(target.port())) {
    return NotAllowed(absl::StrCat("port ", target.port()),
                      target.port() == 0 ? "it is no port" : "it isn't one of health.ports");
  }
  const Cidr address = Cidr::Of(target.address());
  const auto holds = [&address](const Cidr& entry) { return entry.Holds(address); };
  if (!allow_.empty() && std::none_of(allow_.begin(), allow_.end(), holds)) {
    return NotAllowed(text, "health.allow doesn't hold it");
  }
  const auto embedded = StandsForItself(address) ? std::nullopt : Embedded(address);
  for (const Refused& refused : RefusedBlocks()) {
    if (refused.loopback && loopback_ok_) continue;
    const bool within =
        refused.block.Holds(address) || (embedded.has_value() && refused.block.Holds(*embedded));
    if (!within || Named(address, refused.block)) continue;
    return NotAllowed(
        text, absl::StrCat("it is ", base::Av(refused.what), ", which health.allow doesn't name"));
  }
  return absl::OkStatus();
}

}  // namespace muster::health

#include "server/core/zone_tag.h"

#include <xxhash.h>

#include <optional>

#include "muster/v1/types.pb.h"

namespace muster::core {
namespace {

// Steps over the fields of an encoded message.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : rest_(bytes) {}

  // The bytes of the first field of this number that has bytes; nothing when there is none.
  std::optional<std::string_view> Find(int field) {
    while (!rest_.empty()) {
      const uint64_t tag = Number();
      const std::string_view bytes = Value(tag & 7);
      if (bad_) return std::nullopt;
      if (tag == (static_cast<uint64_t>(field) << 3 | kBytes)) return bytes;
    }
    return std::nullopt;
  }

 private:
  enum Wire : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

  uint64_t Number() {
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      number |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return number;
    }
    bad_ = true;
    return 0;
  }

  std::string_view Take(uint64_t size) {
    if (size > rest_.size()) {
      bad_ = true;
      return {};
    }
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  std::string_view Value(uint64_t wire) {
    switch (wire) {
      case kVarint:
        Number();
        return {};
      case kFixed64:
        return Take(8);
      case kBytes:
        return Take(Number());
      case kFixed32:
        return Take(4);
      default:
        bad_ = true;
        return {};
    }
  }

  std::string_view rest_;
  bool bad_ = false;
};

}  // namespace

uint32_t ZoneTag(std::string_view zone) {
  return static_cast<uint32_t>(XXH3_64bits(zone.data(), zone.size()));
}

std::string_view ZoneOf(std::string_view endpoint) {
  const auto locality = Fields(endpoint).Find(v1::Endpoint::kLocalityFieldNumber);
  if (!locality) return {};
  return Fields(*locality).Find(v1::Locality::kZoneFieldNumber).value_or(std::string_view());
}

}  // namespace muster::core

// A compiled Selector: a predicate on one endpoint.
//
// Thread safety: immutable. Cost: Matches() parses nothing when only health and state are asked
// about; tags, metadata and version are read from the endpoint's encoded bytes.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "muster/v1/types.pb.h"

namespace muster::core {

struct EndpointEntry;

class Selector {
 public:
  // Texts have the limits of an instance's fields, and all of it 4 KiB.
  // Errors: INVALID_ARGUMENT, naming the field and the limit.
  static absl::StatusOr<std::shared_ptr<const Selector>> Compile(const v1::Selector& selector);
  // min_health PASSING, no draining, nothing else.
  static const std::shared_ptr<const Selector>& Default();

  // Health and state only.
  bool MatchesHealth(const EndpointEntry& entry) const;
  // Tags, metadata and version only. `bytes` is the encoded endpoint.
  bool MatchesDefinition(std::string_view bytes) const;
  bool Matches(const EndpointEntry& entry, std::string_view bytes) const {
    return MatchesHealth(entry) && (!has_definition_part_ || MatchesDefinition(bytes));
  }
  // The same, but ACTIVE endpoints of any health: what is returned in panic.
  std::shared_ptr<const Selector> WithAnyHealth() const;
  bool is_default() const { return is_default_; }
  bool has_definition_part() const { return has_definition_part_; }
  // Equal for selectors that select alike: sorted, serialized.
  const std::string& canonical() const { return canonical_; }

 private:
  v1::Selector selector_;
  std::string canonical_;
  bool has_definition_part_ = false;
  bool is_default_ = false;
  v1::Health worst_ = v1::PASSING;
};

}  // namespace muster::core

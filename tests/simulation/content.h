// What fake services declare: a small set of contents, so that "the same content" is a comparison
// of two numbers and the model needs none of the server's digests.
//
// Pure. Thread safety: values.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "muster/v1/types.pb.h"
#include "storage/schema.h"

namespace muster::simulation {

inline constexpr int kVariants = 8;
inline constexpr int kCheckVariants = 4;

struct Content {
  int variant = 0;  // of the endpoint's fields
  int checks = 0;   // of the list of checks
  friend bool operator==(const Content&, const Content&) = default;
};

struct CheckSpec {
  std::string id;
  v1::Health initial = v1::PASSING;
  int ttl_s = 10;
  friend bool operator==(const CheckSpec&, const CheckSpec&) = default;
};

std::vector<CheckSpec> ChecksOf(const Content& content);

// As a service sends it; `display` is the service's name in some case.
v1::Instance InstanceOf(const storage::InstanceKey& key, const std::string& display,
                        const Content& content);

// As clients are to see it, but for health, state and revision.
v1::Endpoint EndpointOf(const storage::InstanceKey& key, const Content& content);

// The selectors that fake clients use, and the rule of each in its own words.
inline constexpr int kSelectors = 7;
v1::Selector SelectorOf(int index);
bool Selects(int index, const v1::Endpoint& endpoint);
// The part about tags, metadata and version alone.
bool SelectsDefinition(int index, const v1::Endpoint& endpoint);

// Bytes that are equal for equal messages.
std::string BytesOf(const v1::Endpoint& endpoint);

}  // namespace muster::simulation

// Where one instance of a service is, and what a caller may choose by.
//
// Thread safety: a value. Units of weight: share of traffic among the endpoints of the service.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "muster/client/target.h"

namespace muster::client {

struct Endpoint {
  enum class Health : uint8_t { kPassing = 1, kWarning = 2, kCritical = 3 };
  enum class State : uint8_t {
    kActive = 1,
    kDraining = 2,     // leaves: gets no new calls
    kMaintenance = 3,  // taken out by an operator
  };

  std::string id;    // unique among those of a node
  std::string node;  // "" = none was given
  Address address;   // port 0 = none was given
  std::vector<std::string> more_hosts;
  std::map<std::string, uint16_t> named_ports;
  std::vector<std::string> tags;
  std::map<std::string, std::string> metadata;
  std::string version;
  std::string protocol;
  std::string region;
  std::string zone;
  std::string sub_zone;
  uint32_t passing_weight = 1;
  uint32_t warning_weight = 1;
  Health health = Health::kPassing;
  State state = State::kActive;
  // Of the registry, of the last change of any of these; 0 = it isn't the registry's.
  uint64_t revision = 0;

  // As its health is; 0 = gets no calls.
  uint32_t weight() const {
    if (health == Health::kCritical) return 0;
    return health == Health::kPassing ? passing_weight : warning_weight;
  }

  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

}  // namespace muster::client

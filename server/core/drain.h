// What Drain does to one instance: a pure decision over its stored state.
//
// Thread safety: pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "server/core/instance_change.h"

namespace muster::core {

struct DrainChange {
  // Without ops: its process has drained it before.
  Change change;
  // The last visible change of the endpoint; zero = the seq that the unit gets. An endpoint in
  // maintenance is out of the answers already, and nothing of it changes.
  uint64_t visible_seq = 0;
  // What the instance declares: an encoded v1::Endpoint.
  std::string endpoint;
};

// The instance is DRAINING to the end of its life. One that is in MAINTENANCE stays so, and is
// DRAINING when that ends.
DrainChange DrainOf(std::string_view key, const StoredInstance& present);

}  // namespace muster::core

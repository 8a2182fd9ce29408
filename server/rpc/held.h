// Held endpoints on the wire: in an answer of Discover, in a watch, in Status.
//
// Thread safety: none of their own; AddHeldSets from any thread.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "muster/v1/admin.pb.h"
#include "muster/v1/discovery.pb.h"
#include "server/core/held_set.h"
#include "server/core/lease_judge.h"
#include "server/core/query.h"

namespace muster::rpc {

// Those of the page's endpoints that are held.
void AddHeld(const core::HeldService& held, const core::QueryPage& page, v1::DiscoverResponse& to);

// The first sets, each with its first keys, and a warning that says how many are held in all.
void AddHeldSets(const core::HeldSet& held, v1::StatusResponse& to);

// A warning while the brake holds.
void AddBrake(const core::BrakeStanding& brake, v1::StatusResponse& to);

// What one subscription was told: a version for each zone.
class ToldHeld {
 public:
  // The events that lead from there to `held`, which may be null; none when it knows all. Their
  // bytes are shared with `held`.
  std::vector<grpc::ByteBuffer> Tell(uint64_t sub_id, const core::HeldService* held);

 private:
  std::vector<std::pair<std::string, uint64_t>> zones_;  // in the order of HeldService
};

}  // namespace muster::rpc

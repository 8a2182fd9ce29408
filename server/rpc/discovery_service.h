// muster.v1.Discovery over gRPC.
//
// Thread safety: the threads of Calls call the handlers. Ownership: all references outlive the
// service, and the gRPC server has ended its calls before the service goes. Stop order: EndWatches,
// shut the server down, stop the executor.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/rng.h"
#include "muster/v1/discovery.grpc.pb.h"
#include "server/core/catalog.h"
#include "server/core/held_set.h"
#include "server/core/lease_table.h"
#include "server/core/watch_hub.h"
#include "server/rpc/access.h"
#include "server/rpc/calls.h"
#include "server/rpc/discover.h"
#include "server/rpc/drain_calls.h"
#include "server/rpc/names_pump.h"
#include "server/rpc/server_state.h"
#include "server/rpc/watch_pump.h"
#include "server/security/authorizer.h"

namespace muster::rpc {

// All as bytes.
using DiscoveryMethods = v1::Discovery::WithRawMethod_Discover<v1::Discovery::WithRawMethod_Watch<
    v1::Discovery::WithRawMethod_ListServices<v1::Discovery::WithRawMethod_WatchServices<
        v1::Discovery::WithRawMethod_DescribeInstance<v1::Discovery::Service>>>>>;

class WaitingDiscover;

class DiscoveryService : public DiscoveryMethods {
 public:
  struct Rooms {
    core::Catalog& catalog;
    core::WatchHub& hub;
    const core::LeaseTable& leases;
    const core::HeldSet& held;
    const storage::Engine& engine;
    const security::Authorizer& authorizer;
    const ServerState& state;
    const base::Clock& clock;
    base::Rng& rng;
    // Runs what calls gRPC on behalf of the strand.
    base::SerialExecutor& executor;
  };
  // `max_waiting_calls`: so many calls of Discover may wait for a revision, and of Drain for
  // watchers, at about 16 KB each.
  DiscoveryService(const Rooms& rooms, WatchOptions options, uint64_t max_waiting_calls = 10'000);

  // Adds all methods.
  void ServeOn(Calls& calls);
  // Every second or so.
  void Tick();
  // Every 100 ms or so: ends drains whose time is over.
  void TickDrains() { drains_.Tick(); }
  // Ends watches, calls that wait for a revision, and drains, with UNAVAILABLE (DRAINING).
  void EndWatches();

  // For the Registry.
  DrainCalls& drains() { return drains_; }

  uint64_t watch_streams() const { return watches_.streams() + names_.streams(); }
  uint64_t subscriptions() const { return watches_.subscriptions(); }
  // Calls of Discover that wait for a revision, and drains.
  uint64_t waiting_calls() const;

 private:
  friend class WaitingDiscover;

  void OnDiscover(const UnaryCall& call);
  void OnWatch(StreamCall& call);
  void OnListServices(const UnaryCall& call) const;
  void OnWatchServices(StreamCall& call);
  void OnDescribeInstance(const UnaryCall& call) const;

  // May this call read now?
  absl::Status Admit(const grpc::ServerContextBase& context) const;
  // RESOURCE_EXHAUSTED while as many calls wait as may.
  absl::Status CheckRoomToWait() const;
  // The same, and reads its request.
  template <typename Request>
  absl::Status Begin(const UnaryCall& call, Request& request) const;
  // The same of a call that lasts.
  absl::StatusOr<StreamAccess> AdmitStream(const grpc::ServerContextBase& context) const;

  const Rooms rooms_;
  const uint64_t max_waiting_calls_;
  Discoverer discoverer_;
  WatchPump watches_;
  DrainCalls drains_;
  NamesPump names_;

  mutable base::Mutex waiting_mu_;
  bool ended_ MUSTER_GUARDED_BY(waiting_mu_) = false;
  absl::flat_hash_map<WaitingDiscover*, std::shared_ptr<WaitingDiscover>> waiting_
      MUSTER_GUARDED_BY(waiting_mu_);
};

}  // namespace muster::rpc

// One gRPC channel to each endpoint that is called.
//
// Thread safety: all members. Cost: a look-up under a lock.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "client/followed_service.h"
#include "muster/client/service_channel.h"

namespace muster::client {

class ChannelPool {
 public:
  // `authority`: "" = each its own address. REQUIRES: the clock outlives it.
  ChannelPool(ChannelOptions options, std::string authority, const base::Clock& clock);

  // Opened if there is none.
  std::shared_ptr<grpc::Channel> Of(const Address& address);
  // The best state of any, as gRPC orders them: READY, CONNECTING, IDLE, TRANSIENT_FAILURE.
  // Nullopt: there is none. `try_to_connect`: those that are idle.
  std::optional<grpc_connectivity_state> BestState(bool try_to_connect) const;
  // One in that state; null: there is none.
  std::shared_ptr<grpc::Channel> Any();
  // Closes those of other endpoints. One that changed in the registry, as by registering anew, is
  // connected to at once when that has failed before.
  void Keep(const EndpointList& endpoints);
  size_t size() const;

 private:
  struct HashOf {
    size_t operator()(const Address& address) const {
      return absl::HashOf(address.host, address.port);
    }
  };
  struct Open {
    std::shared_ptr<grpc::Channel> channel;
    base::SteadyTime used{};
    uint64_t revision = 0;  // of the endpoint, as it was told last
  };
  using Channels = absl::flat_hash_map<Address, Open, HashOf>;

  std::pair<grpc_connectivity_state, Channels::const_iterator> Best(bool try_to_connect) const
      MUSTER_REQUIRES(mu_);
  std::shared_ptr<grpc::Channel> Connect(const Address& address) const;
  // Those that are idle.
  Channels TakeIdle(base::SteadyTime now) MUSTER_REQUIRES(mu_);

  const ChannelOptions options_;
  const std::string authority_;
  const base::Clock& clock_;
  mutable base::Mutex mu_;
  Channels channels_ MUSTER_GUARDED_BY(mu_);
  base::SteadyTime looked_ MUSTER_GUARDED_BY(mu_){};  // for idle ones
};

}  // namespace muster::client

// grpc.health.v1 over gRPC: whether this server serves. Without authentication, as load balancers
// and orchestrators ask it.
//
// Thread safety: all members. Ownership: outlives the last call of Calls.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "base/mutex.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/rpc/calls.h"
#include "server/rpc/unary.h"

namespace muster::rpc {

class HealthStream;

using HealthMethods = grpc::health::v1::Health::WithRawMethod_Check<
    grpc::health::v1::Health::WithRawMethod_Watch<grpc::health::v1::Health::Service>>;

class HealthService : public HealthMethods {
 public:
  // The names that it answers for, with all the same status; "" stands for the server.
  explicit HealthService(absl::flat_hash_set<std::string> names);

  // Adds all methods.
  void ServeOn(Calls& calls);
  // NOT_SERVING until it is told otherwise. Watches are told.
  void SetServing(bool serving);
  // Ends all watches, and those that come later, with UNAVAILABLE (DRAINING), once they are told
  // the present status.
  void EndWatches();
  size_t streams() const;

 private:
  friend class HealthStream;

  void OnCheck(const UnaryCall& call);
  void OnWatch(StreamCall& call);

  const absl::flat_hash_set<std::string> names_;
  mutable base::Mutex mu_;
  bool serving_ MUSTER_GUARDED_BY(mu_) = false;
  bool ended_ MUSTER_GUARDED_BY(mu_) = false;
  absl::flat_hash_map<HealthStream*, std::shared_ptr<HealthStream>> streams_ MUSTER_GUARDED_BY(mu_);
};

}  // namespace muster::rpc

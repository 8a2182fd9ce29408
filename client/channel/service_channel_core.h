// What a ServiceChannel is: a caller, and the channels of its endpoints.
//
// Thread safety: all members.
#pragma once

#include <memory>
#include <string_view>

#include "client/balance/balancer_core.h"
#include "client/channel/channel_pool.h"
#include "client/guard/caller_core.h"
#include "muster/client/service_channel.h"

namespace muster::client {

class ServiceChannelCore {
 public:
  ServiceChannelCore(std::shared_ptr<CallerCore> caller, std::shared_ptr<BalancerCore> balancer,
                     std::shared_ptr<ChannelPool> pool);

  grpc::internal::Call CreateCall(const grpc::internal::RpcMethod& method,
                                  grpc::ClientContext* context, grpc::CompletionQueue* cq);
  // Of whatever a callback call is made with; CreateCall puts the endpoint's own in its place.
  grpc::CompletionQueue* CallbackCQ();

  grpc::Status Call(const std::string_view* key, const ServiceChannel::Function& function,
                    Idempotent idempotent);
  const CallerCore& caller() const { return *caller_; }

  grpc_connectivity_state GetState(bool try_to_connect);
  bool WaitForStateChange(grpc_connectivity_state last_observed, gpr_timespec deadline);
  void NotifyOnStateChange(grpc_connectivity_state last_observed, gpr_timespec deadline,
                           grpc::CompletionQueue* cq, void* tag);

  // Of an endpoint's channel, which begins to connect if it isn't.
  static Reach ReachOf(ChannelPool& pool, const Endpoint& endpoint);

 private:
  class Pinned;

  grpc::internal::Call Answer(absl::Status answer, const grpc::internal::RpcMethod& method,
                              grpc::ClientContext* context, grpc::CompletionQueue* cq);
  grpc::internal::Call CreateAt(const Address& address, const grpc::internal::RpcMethod& method,
                                grpc::ClientContext* context, grpc::CompletionQueue* cq);

  const std::shared_ptr<CallerCore> caller_;
  const std::shared_ptr<BalancerCore> balancer_;
  const std::shared_ptr<ChannelPool> pool_;
  // Leads nowhere: answers calls that can't be made. Of the process, for ever: so is the queue of
  // callbacks, which a call that ends as the last one might take with it from its own thread.
  grpc::Channel& nowhere_;
};

}  // namespace muster::client

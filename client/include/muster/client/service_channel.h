// Calls a service by gRPC: a channel for generated stubs, each of whose calls goes to an endpoint
// that is chosen for it.
//
//   auto channel = *client->Channel("users");
//   auto stub = UserService::NewStub(channel);
//   grpc::Status status = channel->Call(                      // with retries at other endpoints
//       [&](grpc::ClientContext& context) { return stub->GetUser(&context, request, &user); });
//   stub->GetUser(&context, request, &user);                  // once
//
// Both forms leave endpoints out that fail, ask the service's breaker, prefer endpoints whose
// connection is ready, and count (metrics.h). A unary call without a deadline gets
// CallerOptions::timeout. Works with blocking, callback and completion-queue calls, unary and
// streaming. A call with wait_for_ready waits for the connection to the endpoint that was chosen;
// when there is none to choose, or the breaker is open, it is UNAVAILABLE at once all the same.
//
// There is one connection to each endpoint that is called, shared by all threads, and by channels
// of the same options to it. It is closed when the endpoint isn't called for `idle`, or has left;
// calls under way go on.
//
// A time-out of CallerOptions counts from when a call is created, PrepareAsync included.
//
// Thread safety: all members. Ownership: calls may outlive the channel. Errors: the endpoint's, and
// UNAVAILABLE with why when no call is made. This is the one public header that shows gRPC.
#pragma once

#include <grpcpp/channel.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "muster/client/caller.h"

namespace grpc {
class ChannelArguments;
class ChannelCredentials;
}  // namespace grpc

namespace muster::client {

struct ChannelOptions {
  // `fallback` is not called: it could not give a reply.
  CallerOptions caller = {};
  // Null: neither encrypted nor authenticated.
  std::shared_ptr<grpc::ChannelCredentials> credentials = {};
  // What endpoints are told they are called as, and what their certificates must be for. "" = as
  // the name says it, "users" or "user-service:8002"; of a static:/// name the address.
  std::string authority = {};
  absl::Duration idle = absl::Minutes(5);  // at least a second
  // Adds to the arguments of each connection: keepalive, largest message, …
  std::function<void(grpc::ChannelArguments&)> arguments = {};
};

class ServiceChannelCore;

class ServiceChannel : public grpc::ChannelInterface {
 public:
  explicit ServiceChannel(std::shared_ptr<ServiceChannelCore> core);
  ~ServiceChannel() override;

  // Makes one attempt, by a stub of this channel, with this context and on this thread; it has a
  // deadline.
  using Function = std::function<grpc::Status(grpc::ClientContext& context)>;
  // As Caller::Call: retries, budget, breakers. The status of the last attempt, with its details.
  grpc::Status Call(const Function& function, Idempotent idempotent = Idempotent::kYes);
  // By this key, with Policy::kConsistentHash.
  grpc::Status Call(std::string_view key, const Function& function,
                    Idempotent idempotent = Idempotent::kYes);

  BreakerState breaker() const;
  size_t left_out() const;

  // The best state of any connection, in the order READY, CONNECTING, IDLE. TRANSIENT_FAILURE:
  // there is no endpoint, or none of those that were tried can be reached.
  grpc_connectivity_state GetState(bool try_to_connect) override;

 private:
  // What a stub makes of the one that was chosen.
  grpc::internal::Call CreateCall(const grpc::internal::RpcMethod& method,
                                  grpc::ClientContext* context, grpc::CompletionQueue* cq) override;
  void PerformOpsOnCall(grpc::internal::CallOpSetInterface* ops,
                        grpc::internal::Call* call) override;
  void* RegisterMethod(const char* method) override;
  void NotifyOnStateChangeImpl(grpc_connectivity_state last_observed, gpr_timespec deadline,
                               grpc::CompletionQueue* cq, void* tag) override;
  bool WaitForStateChangeImpl(grpc_connectivity_state last_observed,
                              gpr_timespec deadline) override;
  grpc::CompletionQueue* CallbackCQ() override;

  const std::shared_ptr<ServiceChannelCore> core_;
};

}  // namespace muster::client

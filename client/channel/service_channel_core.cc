#include "client/channel/service_channel_core.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <chrono>
#include <utility>

#include "client/channel/chosen_call.h"
#include "client/pause.h"
#include "client/rpc_error.h"

namespace muster::client {
namespace {

// How often the state of many connections is looked at by whoever waits for it to change.
constexpr absl::Duration kBetweenLooks = absl::Milliseconds(5);

struct EndpointCall;  // only a name

}  // namespace
}  // namespace muster::client

// A stub calls by members of ChannelInterface that only classes of gRPC's own may use, this
// template among them; with a type that is ours it is ours.
template <>
class grpc::internal::BlockingUnaryCallImpl<muster::client::EndpointCall,
                                            muster::client::EndpointCall> {
 public:
  static Call Create(ChannelInterface& channel, const RpcMethod& method, ClientContext* context,
                     CompletionQueue* cq) {
    return channel.CreateCall(method, context, cq);
  }
  static CompletionQueue* CallbackCQ(ChannelInterface& channel) { return channel.CallbackCQ(); }
};

namespace muster::client {
namespace {

using ByStub = grpc::internal::BlockingUnaryCallImpl<EndpointCall, EndpointCall>;

std::chrono::system_clock::time_point In(absl::Duration duration, const base::Clock& clock) {
  return std::chrono::system_clock::time_point(
      std::chrono::microseconds((clock.System() + duration).us));
}

bool HasDeadline(const grpc::ClientContext& context) {
  const gpr_timespec deadline = context.raw_deadline();
  return gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) != 0;
}

std::shared_ptr<grpc::Channel>& Nowhere() {
  static auto& nowhere =
      *new std::shared_ptr<grpc::Channel>(grpc::experimental::CreateCustomChannelWithInterceptors(
          "ipv4:127.0.0.1:1", grpc::InsecureChannelCredentials(), {}, Answering()));
  return nowhere;
}

grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

}  // namespace

// An attempt whose endpoint has been chosen already: the call that this thread makes with this
// context.
class ServiceChannelCore::Pinned {
 public:
  Pinned(const ServiceChannelCore* core, const grpc::ClientContext* context, const Address& address)
      : core_(core), context_(context), address_(address), outer_(std::exchange(pinned_, this)) {}
  ~Pinned() { pinned_ = outer_; }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

  // Null: no attempt is made with it.
  static const Address* Of(const ServiceChannelCore* core, const grpc::ClientContext* context) {
    for (const Pinned* one = pinned_; one != nullptr; one = one->outer_) {
      if (one->core_ == core && one->context_ == context) return &one->address_;
    }
    return nullptr;
  }

 private:
  static thread_local const Pinned* pinned_;

  const ServiceChannelCore* const core_;
  const grpc::ClientContext* const context_;
  const Address& address_;
  const Pinned* const outer_;
};

thread_local const ServiceChannelCore::Pinned* ServiceChannelCore::Pinned::pinned_ = nullptr;

ServiceChannelCore::ServiceChannelCore(std::shared_ptr<CallerCore> caller,
                                       std::shared_ptr<BalancerCore> balancer,
                                       std::shared_ptr<ChannelPool> pool)
    : caller_(std::move(caller)),
      balancer_(std::move(balancer)),
      pool_(std::move(pool)),
      nowhere_(*Nowhere()) {}

grpc::internal::Call ServiceChannelCore::CreateCall(const grpc::internal::RpcMethod& method,
                                                    grpc::ClientContext* context,
                                                    grpc::CompletionQueue* cq) {
  if (const Address* address = Pinned::Of(this, context)) {
    return CreateAt(*address, method, context, cq);
  }
  const bool is_stream = method.method_type() != grpc::internal::RpcMethod::NORMAL_RPC;
  if (!is_stream && !HasDeadline(*context)) {
    context->set_deadline(In(caller_->timeout(), caller_->clock()));
  }
  if (In(absl::ZeroDuration(), caller_->clock()) >= context->deadline()) {
    // It asks nobody, and says nothing of anybody.
    const absl::Status late = absl::DeadlineExceededError("the deadline was over before the call");
    caller_->NotMade(late);
    return Answer(late, method, context, cq);
  }
  auto pick = caller_->Choose();
  if (!pick.ok()) return Answer(pick.status(), method, context, cq);
  const Address address = (*pick)->address;
  const Handed call({caller_, *std::move(pick), caller_->clock().Steady(), is_stream});
  return CreateAt(address, method, context, cq);
}

grpc::internal::Call ServiceChannelCore::CreateAt(const Address& address,
                                                  const grpc::internal::RpcMethod& method,
                                                  grpc::ClientContext* context,
                                                  grpc::CompletionQueue* cq) {
  const auto channel = pool_->Of(address);
  // The queue has to live as long as the call, which keeps its own channel alive.
  if (cq == CallbackCQ()) cq = ByStub::CallbackCQ(*channel);
  return ByStub::Create(*channel, method, context, cq);
}

grpc::internal::Call ServiceChannelCore::Answer(absl::Status answer,
                                                const grpc::internal::RpcMethod& method,
                                                grpc::ClientContext* context,
                                                grpc::CompletionQueue* cq) {
  const Handed answered(std::move(answer));
  const grpc::internal::Call call = ByStub::Create(nowhere_, method, context, cq);
  context->TryCancel();
  return call;
}

grpc::CompletionQueue* ServiceChannelCore::CallbackCQ() { return ByStub::CallbackCQ(nowhere_); }

grpc::Status ServiceChannelCore::Call(const std::string_view* key,
                                      const ServiceChannel::Function& function,
                                      Idempotent idempotent) {
  grpc::Status last;
  const absl::Status status = caller_->Call(
      key,
      [&](const Attempt& attempt) {
        grpc::ClientContext context;
        context.set_deadline(In(attempt.timeout, caller_->clock()));
        const Pinned pinned(this, &context, attempt.endpoint.address);
        last = function(context);
        return ToStatus(last);
      },
      idempotent);
  return status == ToStatus(last) ? last : ToGrpc(status);
}

Reach ServiceChannelCore::ReachOf(ChannelPool& pool, const Endpoint& endpoint) {
  switch (pool.Of(endpoint.address)->GetState(true)) {
    case GRPC_CHANNEL_READY:
      return Reach::kReady;
    case GRPC_CHANNEL_IDLE:
    case GRPC_CHANNEL_CONNECTING:
      return Reach::kConnecting;
    default:
      return Reach::kFailing;
  }
}

grpc_connectivity_state ServiceChannelCore::GetState(bool try_to_connect) {
  if (!balancer_->status().ok()) return GRPC_CHANNEL_TRANSIENT_FAILURE;
  const auto state = pool_->BestState(try_to_connect);
  if (state == GRPC_CHANNEL_READY) return *state;
  // Another one with each look, until one is connected.
  if (try_to_connect) {
    const Pick pick = balancer_->Next();
    if (pick) pool_->Of(pick->address)->GetState(true);
  }
  return state.value_or(GRPC_CHANNEL_IDLE);
}

bool ServiceChannelCore::WaitForStateChange(grpc_connectivity_state last_observed,
                                            gpr_timespec deadline) {
  while (GetState(false) == last_observed) {
    if (In(absl::ZeroDuration(), caller_->clock()) >= grpc::Timespec2Timepoint(deadline)) {
      return false;
    }
    Pause(kBetweenLooks);
  }
  return true;
}

void ServiceChannelCore::NotifyOnStateChange(grpc_connectivity_state last_observed,
                                             gpr_timespec deadline, grpc::CompletionQueue* cq,
                                             void* tag) {
  if (const auto any = pool_->Any()) {
    return any->NotifyOnStateChange(last_observed, deadline, cq, tag);
  }
  // Of whom there is nobody the state is TRANSIENT_FAILURE, and that of nowhere is IDLE.
  const bool is_so = last_observed == GRPC_CHANNEL_TRANSIENT_FAILURE;
  nowhere_.NotifyOnStateChange(is_so ? GRPC_CHANNEL_IDLE : GRPC_CHANNEL_READY, deadline, cq, tag);
}

ServiceChannel::ServiceChannel(std::shared_ptr<ServiceChannelCore> core) : core_(std::move(core)) {}

ServiceChannel::~ServiceChannel() = default;

grpc::Status ServiceChannel::Call(const Function& function, Idempotent idempotent) {
  return core_->Call(nullptr, function, idempotent);
}

grpc::Status ServiceChannel::Call(std::string_view key, const Function& function,
                                  Idempotent idempotent) {
  return core_->Call(&key, function, idempotent);
}

BreakerState ServiceChannel::breaker() const { return core_->caller().breaker(); }

size_t ServiceChannel::left_out() const { return core_->caller().left_out(); }

grpc_connectivity_state ServiceChannel::GetState(bool try_to_connect) {
  return core_->GetState(try_to_connect);
}

grpc::internal::Call ServiceChannel::CreateCall(const grpc::internal::RpcMethod& method,
                                                grpc::ClientContext* context,
                                                grpc::CompletionQueue* cq) {
  return core_->CreateCall(method, context, cq);
}

// Of a call that this channel made: there is none, they are those of the endpoints' channels.
void ServiceChannel::PerformOpsOnCall(grpc::internal::CallOpSetInterface* /*ops*/,
                                      grpc::internal::Call* /*call*/) {}

// Methods are known to channels by their names: each call has another one.
void* ServiceChannel::RegisterMethod(const char* /*method*/) { return nullptr; }

void ServiceChannel::NotifyOnStateChangeImpl(grpc_connectivity_state last_observed,
                                             gpr_timespec deadline, grpc::CompletionQueue* cq,
                                             void* tag) {
  core_->NotifyOnStateChange(last_observed, deadline, cq, tag);
}

bool ServiceChannel::WaitForStateChangeImpl(grpc_connectivity_state last_observed,
                                            gpr_timespec deadline) {
  return core_->WaitForStateChange(last_observed, deadline);
}

grpc::CompletionQueue* ServiceChannel::CallbackCQ() { return core_->CallbackCQ(); }

}  // namespace muster::client

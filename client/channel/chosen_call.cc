#include "client/channel/chosen_call.h"

#include <grpcpp/support/status.h>

#include <atomic>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "base/mutex.h"
#include "client/foreign.h"
#include "client/rpc_error.h"

namespace muster::client {
namespace {

using grpc::experimental::ClientInterceptorFactoryInterface;
using grpc::experimental::ClientRpcInfo;
using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;

thread_local Handed* handed = nullptr;

// What gRPC itself refuses to send or to take, by limits that the application set.
bool IsOwnLimit(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED &&
         absl::StrContains(status.error_message(), "larger than max");
}

class Reporter : public Interceptor {
 public:
  explicit Reporter(ChosenCall call) : call_(std::move(call)) {}
  // One that the application let go of.
  ~Reporter() override { Report(grpc::Status(grpc::StatusCode::CANCELLED, "it was dropped")); }

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_MESSAGE) &&
        methods->GetRecvMessage() != nullptr) {
      Deliver();
    }
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_STATUS)) {
      Report(*methods->GetRecvStatus());
    }
    methods->Proceed();
  }

 private:
  // Reads of a stream are one after the other, but its end may come beside them.
  void Deliver() {
    if (!call_.is_stream || delivered_.exchange(true)) return;
    const Foreign foreign;
    base::MutexLock lock(mu_);
    if (call_.caller != nullptr) call_.caller->Delivers(call_.pick);
  }
  void Report(const grpc::Status& status) {
    const Foreign foreign;
    std::shared_ptr<CallerCore> caller;
    Pick pick;
    {
      base::MutexLock lock(mu_);
      caller.swap(call_.caller);
      pick = std::move(call_.pick);
    }
    if (caller == nullptr) return;
    caller->Ended(std::move(pick), {.status = ToStatus(status),
                                    .began = call_.began,
                                    .is_stream = call_.is_stream,
                                    .delivered = delivered_,
                                    .says_nothing = IsOwnLimit(status)});
    caller = nullptr;
  }

  std::atomic<bool> delivered_{false};
  base::Mutex mu_;
  ChosenCall call_;
};

// The call has been called off; whoever made it is told why.
class Answerer : public Interceptor {
 public:
  explicit Answerer(absl::Status answer) : answer_(std::move(answer)) {}

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_STATUS)) {
      *methods->GetRecvStatus() = grpc::Status(static_cast<grpc::StatusCode>(answer_.code()),
                                               std::string(answer_.message()));
    }
    methods->Proceed();
  }

 private:
  const absl::Status answer_;
};

class ReporterFactory : public ClientInterceptorFactoryInterface {
 public:
  Interceptor* CreateClientInterceptor(ClientRpcInfo* /*info*/) override {
    auto call = Handed::TakeCall();
    return call ? new Reporter(*std::move(call)) : nullptr;
  }
};

class AnswererFactory : public ClientInterceptorFactoryInterface {
 public:
  Interceptor* CreateClientInterceptor(ClientRpcInfo* /*info*/) override {
    return new Answerer(Handed::Answer());
  }
};

template <typename Factory>
std::vector<std::unique_ptr<ClientInterceptorFactoryInterface>> One() {
  std::vector<std::unique_ptr<ClientInterceptorFactoryInterface>> one;
  one.push_back(std::make_unique<Factory>());
  return one;
}

}  // namespace

std::vector<std::unique_ptr<ClientInterceptorFactoryInterface>> Reporting() {
  return One<ReporterFactory>();
}

std::vector<std::unique_ptr<ClientInterceptorFactoryInterface>> Answering() {
  return One<AnswererFactory>();
}

Handed::Handed(ChosenCall call) : call_(std::move(call)), outer_(std::exchange(handed, this)) {}

Handed::Handed(absl::Status answer)
    : answer_(std::move(answer)), outer_(std::exchange(handed, this)) {}

Handed::~Handed() { handed = outer_; }

std::optional<ChosenCall> Handed::TakeCall() {
  return handed == nullptr ? std::nullopt : std::exchange(handed->call_, std::nullopt);
}

absl::Status Handed::Answer() {
  return handed == nullptr ? absl::UnavailableError("there is nobody to call") : handed->answer_;
}

}  // namespace muster::client

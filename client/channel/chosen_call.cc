#include "client/channel/chosen_call.h"

#include <grpcpp/support/status.h>

#include <utility>

#include "absl/status/status.h"
#include "client/rpc_error.h"

namespace muster::client {
namespace {

using grpc::experimental::ClientInterceptorFactoryInterface;
using grpc::experimental::ClientRpcInfo;
using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;

thread_local Handed* handed = nullptr;

class Reporter : public Interceptor {
 public:
  explicit Reporter(ChosenCall call) : call_(std::move(call)) {}

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_STATUS)) {
      Report(*methods->GetRecvStatus());
    }
    methods->Proceed();
  }

 private:
  void Report(const grpc::Status& status) {
    if (call_.caller == nullptr) return;
    std::exchange(call_.caller, nullptr)
        ->Ended(std::move(call_.pick), ToStatus(status), call_.began, call_.is_stream);
  }

  ChosenCall call_;
};

// Nothing of the call goes out.
class Answerer : public Interceptor {
 public:
  explicit Answerer(absl::Status answer) : answer_(std::move(answer)) {}

  void Intercept(InterceptorBatchMethods* methods) override {
    const bool begins =
        methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_INITIAL_METADATA);
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_MESSAGE) && !begins) {
      methods->FailHijackedSendMessage();
    }
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_RECV_MESSAGE)) {
      methods->FailHijackedRecvMessage();
    }
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_RECV_STATUS)) {
      *methods->GetRecvStatus() = grpc::Status(static_cast<grpc::StatusCode>(answer_.code()),
                                               std::string(answer_.message()));
    }
    if (begins) {
      methods->Hijack();
    } else {
      methods->Proceed();
    }
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

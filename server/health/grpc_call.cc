#include "server/health/grpc_call.h"

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <atomic>
#include <boost/asio/post.hpp>
#include <utility>

#include "base/handover.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace muster::health {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

class CheckCall : public GrpcCall {
 public:
  using Done = std::function<void(const GrpcAnswer&, int)>;

  CheckCall(ProbeEnvironment& environment, const std::shared_ptr<grpc::Channel>& channel,
            const std::string& service, Done done)
      : environment_(environment), stub_(channel), done_(std::move(done)) {
    request_.set_service(service);
  }

  static void Start(const std::shared_ptr<CheckCall>& call) {
    call->environment_.calls.Enter();
    base::HandOver(call.get());
    call->stub_.async()->Check(
        &call->context_, &call->request_, &call->response_,
        [call](const grpc::Status& status) mutable { End(std::move(call), status); });
  }
  void Cancel() override { context_.TryCancel(); }

 private:
  // On a thread of gRPC. What the callback holds is given up on the loop's.
  static void End(std::shared_ptr<CheckCall> call, const grpc::Status& status) {
    base::TakeOver(call.get());
    ProbeEnvironment& environment = call->environment_;
    GrpcAnswer answer = AnswerOf(call->context_, status);
    boost::asio::post(environment.loop, [call = std::move(call), answer = std::move(answer)] {
      const Done done = std::move(call->done_);
      done(answer, call->response_.status());
    });
    environment.calls.Leave();
  }

  ProbeEnvironment& environment_;
  Health::Stub stub_;
  grpc::ClientContext context_;
  HealthCheckRequest request_;
  HealthCheckResponse response_;
  Done done_;
};

class WatchCall : public GrpcWatchCall,
                  public grpc::ClientReadReactor<HealthCheckResponse>,
                  public std::enable_shared_from_this<WatchCall> {
 public:
  WatchCall(ProbeEnvironment& environment, const std::shared_ptr<grpc::Channel>& channel,
            const std::string& service, GrpcWatchCallbacks callbacks)
      : environment_(environment), stub_(channel), callbacks_(std::move(callbacks)) {
    request_.set_service(service);
  }

  void Start() {
    environment_.calls.Enter();
    self_ = shared_from_this();
    stub_.async()->Watch(&context_, &request_, this);
    // Reads are started from outside of the reactor's own calls until the hold is gone.
    AddHold();
    base::HandOver(this);
    StartRead(&response_);
    StartCall();
  }
  void Next() override {
    base::HandOver(this);
    StartRead(&response_);
  }
  void Cancel() override {
    context_.TryCancel();
    LetGo();
  }

  void OnReadDone(bool ok) override {
    base::TakeOver(this);
    if (!ok) return LetGo();
    boost::asio::post(environment_.loop, [self = shared_from_this(), serving = response_.status()] {
      // Null once the end has come.
      if (self->callbacks_.on_status) self->callbacks_.on_status(serving);
    });
  }
  void OnDone(const grpc::Status& status) override {
    base::TakeOver(this);
    ProbeEnvironment& environment = environment_;
    boost::asio::post(environment.loop,
                      [self = std::move(self_), answer = AnswerOf(context_, status)] {
                        const GrpcWatchCallbacks callbacks = std::exchange(self->callbacks_, {});
                        callbacks.on_end(answer);
                      });
    environment.calls.Leave();
  }

 private:
  void LetGo() {
    if (held_.exchange(false)) RemoveHold();
  }

  ProbeEnvironment& environment_;
  Health::Stub stub_;
  grpc::ClientContext context_;
  HealthCheckRequest request_;
  HealthCheckResponse response_;
  GrpcWatchCallbacks callbacks_;
  std::atomic<bool> held_{true};
  std::shared_ptr<WatchCall> self_;
};

}  // namespace

std::shared_ptr<GrpcCall> CallCheck(ProbeEnvironment& environment,
                                    const std::shared_ptr<grpc::Channel>& channel,
                                    const std::string& service,
                                    std::function<void(const GrpcAnswer&, int serving)> done) {
  auto call = std::make_shared<CheckCall>(environment, channel, service, std::move(done));
  CheckCall::Start(call);
  return call;
}

std::shared_ptr<GrpcWatchCall> CallWatch(ProbeEnvironment& environment,
                                         const std::shared_ptr<grpc::Channel>& channel,
                                         const std::string& service, GrpcWatchCallbacks callbacks) {
  auto call = std::make_shared<WatchCall>(environment, channel, service, std::move(callbacks));
  call->Start();
  return call;
}

}  // namespace muster::health

#include "client/lease/grpc_lease.h"

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "client/grpc_stream.h"
#include "muster/v1/registry.grpc.pb.h"

namespace muster::client {
namespace {

using KeepAlive = GrpcStream<v1::HeartbeatRequest, v1::HeartbeatResponse>;

// Calls that are under way, whatever they are.
class Calls {
 public:
  // Waits until gRPC is done with all. REQUIRES: no reaction.
  ~Calls() {
    base::MutexLock lock(mu_);
    closed_ = true;
    for (const auto& [call, context] : calls_) context->TryCancel();
    while (!calls_.empty()) is_empty_.Wait(mu_);
  }

  // `start`: a method of the stub's async(), called with the four that it wants.
  template <typename Request, typename Response, typename Start>
  void Begin(const Request& request, const std::string& token, absl::Duration within,
             LeaseSession::Done<Response> done, const Start& start) {
    base::MutexLock lock(mu_);
    auto* call = new Call<Request, Response>(*this, request, std::move(done));
    calls_[call] = &call->context;
    if (!token.empty()) call->context.AddMetadata("authorization", "Bearer " + token);
    call->context.set_deadline(
        gpr_time_from_micros(absl::ToInt64Microseconds(within), GPR_TIMESPAN));
    start(&call->context, &call->request, &call->response, call);
    call->StartCall();
  }

 private:
  // Its own owner, until OnDone.
  template <typename Request, typename Response>
  struct Call : grpc::ClientUnaryReactor {
    Call(Calls& the_calls, const Request& the_request, LeaseSession::Done<Response> the_done)
        : calls(the_calls), request(the_request), done(std::move(the_done)) {}

    void OnDone(const grpc::Status& status) override {
      Calls& all = calls;
      base::MutexLock lock(all.mu_);
      if (!all.closed_) {
        if (status.ok()) {
          done(std::move(response));
        } else {
          done(ToStatus(status));
        }
      }
      all.calls_.erase(this);
      // Gone before whoever waits for it goes on.
      delete this;
      if (all.calls_.empty()) all.is_empty_.NotifyAll();
    }

    Calls& calls;
    grpc::ClientContext context;
    const Request request;
    Response response;
    const LeaseSession::Done<Response> done;
  };

  // Callbacks run with it.
  base::Mutex mu_;
  base::CondVar is_empty_;
  bool closed_ MUSTER_GUARDED_BY(mu_) = false;
  absl::flat_hash_map<grpc::ClientUnaryReactor*, grpc::ClientContext*> calls_
      MUSTER_GUARDED_BY(mu_);
};

class Session : public LeaseSession {
 public:
  Session(const std::shared_ptr<grpc::Channel>& channel, std::string token,
          LeaseTransport::Callbacks callbacks)
      : token_(std::move(token)),
        stub_(v1::Registry::NewStub(channel)),
        stream_(channel, token_,
                [this](grpc::ClientContext* context, KeepAlive::Reactor* reactor) {
                  stub_->async()->KeepAlive(context, reactor);
                },
                {.on_message =
                     [on_beat = std::move(callbacks.on_beat)](v1::HeartbeatResponse response) {
                       on_beat(std::move(response));
                       return true;
                     },
                 .on_end = std::move(callbacks.on_end)}) {}

  void Beat(v1::HeartbeatRequest request) override { stream_.Write(std::move(request)); }

  void Register(const v1::RegisterRequest& request, absl::Duration within,
                Done<v1::RegisterResponse> done) override {
    calls_.Begin(request, token_, within, std::move(done),
                 [this](auto*... call) { stub_->async()->Register(call...); });
  }
  void Deregister(const v1::DeregisterRequest& request, absl::Duration within,
                  Done<v1::DeregisterResponse> done) override {
    calls_.Begin(request, token_, within, std::move(done),
                 [this](auto*... call) { stub_->async()->Deregister(call...); });
  }
  void ReportHealth(const v1::ReportHealthRequest& request, absl::Duration within,
                    Done<v1::ReportHealthResponse> done) override {
    calls_.Begin(request, token_, within, std::move(done),
                 [this](auto*... call) { stub_->async()->ReportHealth(call...); });
  }
  void Drain(const v1::DrainRequest& request, absl::Duration within,
             Done<v1::DrainResponse> done) override {
    calls_.Begin(request, token_, within, std::move(done),
                 [this](auto*... call) { stub_->async()->Drain(call...); });
  }

 private:
  const std::string token_;
  const std::unique_ptr<v1::Registry::Stub> stub_;
  KeepAlive stream_;
  Calls calls_;
};

}  // namespace

GrpcLeaseTransport::GrpcLeaseTransport(std::vector<std::string> addresses, Access access)
    : addresses_(std::move(addresses)),
      access_(std::move(access)),
      credentials_(CredentialsOf(access_)) {}

GrpcLeaseTransport::~GrpcLeaseTransport() = default;

std::unique_ptr<LeaseSession> GrpcLeaseTransport::Open(size_t server, Callbacks callbacks) {
  return std::make_unique<Session>(OpenChannel(addresses_[server], credentials_), access_.token,
                                   std::move(callbacks));
}

}  // namespace muster::client

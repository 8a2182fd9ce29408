#include "client/lease/grpc_lease.h"

#include <cstdint>
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
    for (const auto& [id, call] : calls_) call->TryCancel();
    while (!calls_.empty()) is_empty_.Wait(mu_);
  }

  // `start`: begins it, by the stub's async().
  template <typename Request, typename Response, typename Start>
  void Begin(const Request& request, const std::string& token, absl::Duration within,
             LeaseSession::Done<Response> done, Start start) {
    struct Call {
      grpc::ClientContext context;
      Request request;
      Response response;
    };
    auto call = std::make_shared<Call>();
    call->request = request;
    if (!token.empty()) call->context.AddMetadata("authorization", "Bearer " + token);
    call->context.set_deadline(
        gpr_time_from_micros(absl::ToInt64Microseconds(within), GPR_TIMESPAN));
    uint64_t id = 0;
    {
      base::MutexLock lock(mu_);
      id = ++last_id_;
      calls_[id] = std::shared_ptr<grpc::ClientContext>(call, &call->context);
    }
    Call& it = *call;
    start(&it.context, &it.request, &it.response,
          [this, id, call = std::move(call), done = std::move(done)](grpc::Status status) mutable {
            base::MutexLock lock(mu_);
            if (!closed_) {
              status.ok() ? done(std::move(call->response)) : done(ToStatus(status));
            }
            // Gone before whoever waits for it goes on.
            call = nullptr;
            calls_.erase(id);
            if (calls_.empty()) is_empty_.NotifyAll();
          });
  }

 private:
  // Callbacks run with it.
  base::Mutex mu_;
  base::CondVar is_empty_;
  bool closed_ MUSTER_GUARDED_BY(mu_) = false;
  uint64_t last_id_ MUSTER_GUARDED_BY(mu_) = 0;
  absl::flat_hash_map<uint64_t, std::shared_ptr<grpc::ClientContext>> calls_ MUSTER_GUARDED_BY(mu_);
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
                 [this](auto... call) { stub_->async()->Register(std::move(call)...); });
  }
  void Deregister(const v1::DeregisterRequest& request, absl::Duration within,
                  Done<v1::DeregisterResponse> done) override {
    calls_.Begin(request, token_, within, std::move(done),
                 [this](auto... call) { stub_->async()->Deregister(std::move(call)...); });
  }
  void ReportHealth(const v1::ReportHealthRequest& request, absl::Duration within,
                    Done<v1::ReportHealthResponse> done) override {
    calls_.Begin(request, token_, within, std::move(done),
                 [this](auto... call) { stub_->async()->ReportHealth(std::move(call)...); });
  }
  void Drain(const v1::DrainRequest& request, absl::Duration within,
             Done<v1::DrainResponse> done) override {
    calls_.Begin(request, token_, within, std::move(done),
                 [this](auto... call) { stub_->async()->Drain(std::move(call)...); });
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

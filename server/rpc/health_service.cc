#include "server/rpc/health_service.h"

#include <optional>
#include <utility>
#include <vector>

#include "server/rpc/errors.h"
#include "server/rpc/server_state.h"
#include "server/rpc/slices.h"

namespace muster::rpc {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

namespace {

HealthCheckResponse::ServingStatus ToProto(bool serving) {
  return serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

}  // namespace

// Tells the status that is the latest when it has told the one before.
class HealthStream final : public StreamReactor {
 public:
  // `known`: the service that it watches is one of the server's.
  HealthStream(HealthService& all, bool known) : all_(all), known_(known) {}

  void Tell(bool serving) {
    TellStatus(!known_ ? HealthCheckResponse::SERVICE_UNKNOWN : ToProto(serving));
  }
  void TellStatus(HealthCheckResponse::ServingStatus status) {
    base::MutexLock lock(mu_);
    next_ = status;
    Go();
  }
  void End(const absl::Status& status) {
    base::MutexLock lock(mu_);
    if (!end_) end_ = status;
    Go();
  }
  void OnWriteDone(bool ok) override {
    base::MutexLock lock(mu_);
    writing_ = false;
    if (!ok) next_.reset();
    if (!ok && !end_) end_ = absl::CancelledError("the client is gone");
    Go();
  }
  void OnCancel() override { End(absl::CancelledError("the client is gone")); }
  void OnDone() override {
    base::MutexLock lock(all_.mu_);
    all_.streams_.erase(this);
  }

 private:
  void Go() MUSTER_REQUIRES(mu_) {
    if (writing_ || finished_) return;
    if (next_ && next_ != told_) {
      HealthCheckResponse response;
      response.set_status(*next_);
      told_ = next_;
      writing_ = true;
      return StartWrite(EncodeBytes(response));
    }
    if (!end_) return;
    finished_ = true;
    Finish(*end_);
  }

  HealthService& all_;
  const bool known_;
  base::Mutex mu_;
  std::optional<HealthCheckResponse::ServingStatus> next_ MUSTER_GUARDED_BY(mu_);
  std::optional<HealthCheckResponse::ServingStatus> told_ MUSTER_GUARDED_BY(mu_);
  std::optional<absl::Status> end_ MUSTER_GUARDED_BY(mu_);
  bool writing_ MUSTER_GUARDED_BY(mu_) = false;
  bool finished_ MUSTER_GUARDED_BY(mu_) = false;
};

HealthService::HealthService(absl::flat_hash_set<std::string> names) : names_(std::move(names)) {}

void HealthService::OnCheck(const UnaryCall& call) {
  HealthCheckRequest request;
  if (absl::Status s = ReadRequest(call, request); !s.ok()) return call.End(s);
  // As the protocol has it: a status without more.
  if (!names_.contains(request.service())) {
    return call.End(absl::NotFoundError("this server has no such service"));
  }
  HealthCheckResponse response;
  {
    base::MutexLock lock(mu_);
    response.set_status(ToProto(serving_));
  }
  call.Answer(absl::StatusOr<HealthCheckResponse>(response));
}

void HealthService::OnWatch(StreamCall& call) {
  HealthCheckRequest request;
  const absl::Status status = ReadRequest(call.request(), request);
  if (!status.ok()) return call.Finish(status);
  const auto stream = std::make_shared<HealthStream>(*this, names_.contains(request.service()));
  call.Bind(stream.get());
  base::MutexLock lock(mu_);
  streams_.emplace(stream.get(), stream);
  stream->Tell(serving_);
  if (ended_) stream->End(ServerState::Draining());
}

void HealthService::SetServing(bool serving) {
  base::MutexLock lock(mu_);
  serving_ = serving;
  for (const auto& [raw, stream] : streams_) stream->Tell(serving);
}

size_t HealthService::streams() const {
  base::MutexLock lock(mu_);
  return streams_.size();
}

void HealthService::EndWatches() {
  base::MutexLock lock(mu_);
  ended_ = true;
  for (const auto& [raw, stream] : streams_) stream->End(ServerState::Draining());
}

void HealthService::ServeOn(Calls& calls) {
  calls.Unary([this](auto... to) { RequestCheck(to...); },
              [this](const UnaryCall& call) { OnCheck(call); });
  calls.ServerStream([this](auto... to) { RequestWatch(to...); },
                     [this](StreamCall& call) { OnWatch(call); });
}

}  // namespace muster::rpc

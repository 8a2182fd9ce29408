#include "server/rpc/keep_alive.h"

#include <utility>
#include <vector>

#include "muster/v1/registry.pb.h"
#include "server/rpc/errors.h"
#include "server/rpc/slices.h"
#include "server/rpc/unreadable.h"

namespace muster::rpc {

// The next request is read once the reply is written. Nothing is started after Finish: each start
// is made under the mutex. gRPC calls reactions on other threads than the one that starts, so none
// comes while the mutex is held.
class KeepAliveStream : public KeepAliveStreams::Reactor {
 public:
  explicit KeepAliveStream(KeepAliveStreams& all) : all_(all) {}

  void Read() {
    base::MutexLock lock(mu_);
    if (!finished_) StartRead(&request_);
  }
  // At once, or after the reply that is under way.
  void End(const absl::Status& status) {
    base::MutexLock lock(mu_);
    if (finished_) return;
    if (!writing_) return FinishNow(ToGrpc(status));
    end_ = status;
  }

  void OnReadDone(bool ok) override {
    base::MutexLock lock(mu_);
    if (finished_) return;
    if (!ok) return FinishNow(grpc::Status::OK);
    const grpc::Status answered = Answer();
    if (!answered.ok()) return FinishNow(answered);
    writing_ = true;
    StartWrite(&response_);
  }
  void OnWriteDone(bool ok) override {
    base::MutexLock lock(mu_);
    writing_ = false;
    if (!ok) return FinishNow(grpc::Status::OK);
    if (!end_.ok()) return FinishNow(ToGrpc(end_));
    StartRead(&request_);
  }
  void OnDone() override {
    base::MutexLock lock(all_.mu_);
    all_.streams_.erase(this);
  }

 private:
  // Fills response_.
  grpc::Status Answer() {
    v1::HeartbeatRequest request;
    if (!ParseBytes(request_, request)) return ToGrpc(Unreadable());
    const auto response = all_.registry_.Heartbeat(request);
    if (!response.ok()) return ToGrpc(response.status());
    response_ = EncodeBytes(*response);
    return grpc::Status::OK;
  }
  void FinishNow(const grpc::Status& status) MUSTER_REQUIRES(mu_) {
    finished_ = true;
    Finish(status);
  }

  KeepAliveStreams& all_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  base::Mutex mu_;
  bool writing_ MUSTER_GUARDED_BY(mu_) = false;
  bool finished_ MUSTER_GUARDED_BY(mu_) = false;
  absl::Status end_ MUSTER_GUARDED_BY(mu_);
};

KeepAliveStreams::Reactor* KeepAliveStreams::Open(const absl::Status& admitted) {
  const auto stream = std::make_shared<KeepAliveStream>(*this);
  bool ended = false;
  {
    base::MutexLock lock(mu_);
    streams_.emplace(stream.get(), stream);
    ended = ended_;
  }
  if (!admitted.ok()) {
    stream->End(admitted);
  } else if (ended) {
    stream->End(ServerState::Draining());
  } else {
    stream->Read();
  }
  return stream.get();
}

void KeepAliveStreams::EndAll() {
  std::vector<std::shared_ptr<KeepAliveStream>> open;
  {
    base::MutexLock lock(mu_);
    ended_ = true;
    for (const auto& [raw, stream] : streams_) open.push_back(stream);
  }
  for (const auto& stream : open) stream->End(ServerState::Draining());
}

uint64_t KeepAliveStreams::streams() const {
  base::MutexLock lock(mu_);
  return streams_.size();
}

}  // namespace muster::rpc

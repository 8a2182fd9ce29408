#include "server/rpc/keep_alive.h"

#include <utility>
#include <vector>

#include "muster/v1/registry.pb.h"
#include "server/rpc/slices.h"
#include "server/rpc/unreadable.h"

namespace muster::rpc {

// The next request is read once the reply is written. Nothing is started after Finish: each start
// is made under the mutex. No reaction comes while a start is made, so none while it is held.
class KeepAliveStream final : public StreamReactor {
 public:
  KeepAliveStream(KeepAliveStreams& all, const StreamAccess& access) : all_(all), access_(access) {}

  void Read() {
    base::MutexLock lock(mu_);
    if (!finished_) StartRead(&request_);
  }
  // At once, or after the reply that is under way.
  void End(const absl::Status& status) {
    base::MutexLock lock(mu_);
    EndLocked(status);
  }
  void Recheck() {
    base::MutexLock lock(mu_);
    EndLocked(access_.Recheck());
  }

  void OnReadDone(bool ok) override {
    base::MutexLock lock(mu_);
    if (finished_) return;
    if (!ok) return FinishNow(absl::OkStatus());
    // A request of a token that was taken out renews nothing more.
    const absl::Status allowed = access_.Recheck();
    const absl::StatusOr<grpc::ByteBuffer> answered = allowed.ok() ? Answer() : allowed;
    if (!answered.ok()) return FinishNow(answered.status());
    writing_ = true;
    StartWrite(*answered);
  }
  void OnWriteDone(bool ok) override {
    base::MutexLock lock(mu_);
    writing_ = false;
    if (!ok) return FinishNow(absl::OkStatus());
    if (!end_.ok()) return FinishNow(end_);
    StartRead(&request_);
  }
  void OnDone() override {
    base::MutexLock lock(all_.mu_);
    all_.streams_.erase(this);
  }

 private:
  absl::StatusOr<grpc::ByteBuffer> Answer() {
    v1::HeartbeatRequest request;
    if (!ParseBytes(request_, request)) return Unreadable();
    const auto response = all_.registry_.Heartbeat(request);
    if (!response.ok()) return response.status();
    return EncodeBytes(*response);
  }
  // OK: goes on.
  void EndLocked(const absl::Status& status) MUSTER_REQUIRES(mu_) {
    if (finished_ || status.ok()) return;
    if (!writing_) return FinishNow(status);
    end_ = status;
  }
  void FinishNow(const absl::Status& status) MUSTER_REQUIRES(mu_) {
    finished_ = true;
    Finish(status);
  }

  KeepAliveStreams& all_;
  grpc::ByteBuffer request_;
  base::Mutex mu_;
  StreamAccess access_ MUSTER_GUARDED_BY(mu_);
  bool writing_ MUSTER_GUARDED_BY(mu_) = false;
  bool finished_ MUSTER_GUARDED_BY(mu_) = false;
  absl::Status end_ MUSTER_GUARDED_BY(mu_);
};

void KeepAliveStreams::Open(StreamCall& call, const StreamAccess& access) {
  const auto stream = std::make_shared<KeepAliveStream>(*this, access);
  call.Bind(stream.get());
  bool ended = false;
  {
    base::MutexLock lock(mu_);
    streams_.emplace(stream.get(), stream);
    ended = ended_;
  }
  if (ended) {
    stream->End(ServerState::Draining());
  } else {
    stream->Read();
  }
}

void KeepAliveStreams::EndAll() {
  {
    base::MutexLock lock(mu_);
    ended_ = true;
  }
  for (const auto& stream : Streams()) stream->End(ServerState::Draining());
}

void KeepAliveStreams::Tick() {
  for (const auto& stream : Streams()) stream->Recheck();
}

std::vector<std::shared_ptr<KeepAliveStream>> KeepAliveStreams::Streams() const {
  std::vector<std::shared_ptr<KeepAliveStream>> out;
  base::MutexLock lock(mu_);
  for (const auto& [raw, stream] : streams_) out.push_back(stream);
  return out;
}

}  // namespace muster::rpc

#include "tests/bench/yardstick/broadcast.h"

#include <atomic>

namespace muster::bench {

class Broadcast::Stream : public Reactor {
 public:
  explicit Stream(Broadcast& all) : all_(all) { StartRead(&request_); }

  void OnReadDone(bool ok) override {
    base::MutexLock lock(all_.mu_);
    if (!ok || finished_) return End();
    // From here on it is sent what is published.
    if (all_.streams_.insert(this).second) Send(request_);
    StartRead(&request_);
  }
  void OnWriteDone(bool ok) override {
    writing_.store(false, std::memory_order_release);
    if (ok) return;
    base::MutexLock lock(all_.mu_);
    End();
  }
  void OnDone() override { delete this; }

  // Both with the lock held, which keeps a write from following the end.
  bool sends() const MUSTER_REQUIRES(all_.mu_) { return writing_.load(std::memory_order_acquire); }
  // REQUIRES: it sends nothing.
  void Send(const grpc::ByteBuffer& bytes) MUSTER_REQUIRES(all_.mu_) {
    writing_.store(true, std::memory_order_relaxed);
    message_ = bytes;
    StartWrite(&message_);
  }
  void End() MUSTER_REQUIRES(all_.mu_) {
    if (finished_) return;
    finished_ = true;
    all_.streams_.erase(this);
    Finish(grpc::Status::OK);
  }

 private:
  Broadcast& all_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer message_;
  std::atomic<bool> writing_{false};
  bool finished_ MUSTER_GUARDED_BY(all_.mu_) = false;
};

Broadcast::Reactor* Broadcast::Follow() { return new Stream(*this); }

grpc::Status Broadcast::Publish(const grpc::ByteBuffer& bytes) {
  base::MutexLock lock(mu_);
  for (const Stream* stream : streams_) {
    if (stream->sends()) {
      return {grpc::StatusCode::ABORTED, "a stream has not sent the bytes before"};
    }
  }
  for (Stream* stream : streams_) stream->Send(bytes);
  return grpc::Status::OK;
}

}  // namespace muster::bench

#include "client/grpc_watch.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <deque>
#include <utility>

#include "base/mutex.h"
#include "muster/v1/discovery.grpc.pb.h"

namespace muster::client {
namespace {

using base::MutexLock;

// Operations begin outside of its reactions as well, so it holds the call (AddHold) until the call
// is over or its owner closes it.
//
// Its channel isn't released by a reaction: with the last channel gRPC ends the threads that run
// reactions, and would wait for the one that asks.
class Call : public grpc::ClientBidiReactor<v1::WatchRequest, v1::WatchResponse> {
 public:
  Call(std::shared_ptr<grpc::Channel> channel, const std::string& token,
       WatchTransport::Callbacks callbacks)
      : channel_(std::move(channel)),
        stub_(v1::Discovery::NewStub(channel_)),
        callbacks_(std::move(callbacks)) {
    if (!token.empty()) context_.AddMetadata("authorization", "Bearer " + token);
    stub_->async()->Watch(&context_, this);
    AddHold();
    StartRead(&event_);
    StartCall();
  }
  // Waits until gRPC is done with it, which a cancelled call soon is. REQUIRES: no reaction.
  ~Call() override {
    {
      MutexLock lock(mu_);
      closed_ = true;
      if (!over_) End();
    }
    context_.TryCancel();
    MutexLock lock(mu_);
    while (!done_) is_done_.Wait(mu_);
  }

  void Write(v1::WatchRequest request) {
    MutexLock lock(mu_);
    if (over_) return;
    writes_.push_back(std::move(request));
    if (writes_.size() == 1) StartWrite(&writes_.front());
  }

  void ReadNext() {
    MutexLock lock(mu_);
    if (!over_) StartRead(&event_);
  }

 private:
  void OnReadDone(bool ok) override {
    MutexLock lock(mu_);
    if (over_) return;
    if (!ok) return End();
    callbacks_.on_event(std::move(event_));
    event_.Clear();
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(mu_);
    // The read fails as well, and ends it.
    if (!ok || over_) return;
    writes_.pop_front();
    if (!writes_.empty()) StartWrite(&writes_.front());
  }

  void OnDone(const grpc::Status& status) override {
    MutexLock lock(mu_);
    if (!closed_) {
      callbacks_.on_end(
          absl::Status(static_cast<absl::StatusCode>(status.error_code()), PlainMessage(status)));
    }
    done_ = true;
    is_done_.NotifyAll();
  }

  void End() MUSTER_REQUIRES(mu_) {
    over_ = true;
    RemoveHold();
  }

  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Discovery::Stub> stub_;
  grpc::ClientContext context_;
  // Callbacks run with it.
  base::Mutex mu_;
  base::CondVar is_done_;
  const WatchTransport::Callbacks callbacks_;
  v1::WatchResponse event_;                                     // gRPC's while a read is under way
  std::deque<v1::WatchRequest> writes_ MUSTER_GUARDED_BY(mu_);  // the first one is being written
  bool over_ MUSTER_GUARDED_BY(mu_) = false;                    // nothing may be started any more
  bool closed_ MUSTER_GUARDED_BY(mu_) = false;  // by the owner: nothing may be told any more
  bool done_ MUSTER_GUARDED_BY(mu_) = false;
};

class Stream : public WatchStream {
 public:
  Stream(std::shared_ptr<grpc::Channel> channel, const std::string& token,
         WatchTransport::Callbacks callbacks)
      : call_(std::move(channel), token, std::move(callbacks)) {}
  void Write(v1::WatchRequest request) override { call_.Write(std::move(request)); }
  void ReadNext() override { call_.ReadNext(); }

 private:
  Call call_;
};

}  // namespace

GrpcWatchTransport::GrpcWatchTransport(std::vector<std::string> addresses, Access access)
    : addresses_(std::move(addresses)),
      access_(std::move(access)),
      credentials_(CredentialsOf(access_)) {}

GrpcWatchTransport::~GrpcWatchTransport() = default;

std::unique_ptr<WatchStream> GrpcWatchTransport::Open(size_t server, Callbacks callbacks) {
  return std::make_unique<Stream>(OpenChannel(addresses_[server], credentials_), access_.token,
                                  std::move(callbacks));
}

}  // namespace muster::client

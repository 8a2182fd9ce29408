// A bidirectional stream to a server, for whoever is no gRPC reactor.
//
// Operations begin outside of its reactions as well, so it holds the call (AddHold) until the call
// is over or its owner closes it.
//
// Its channel isn't released by a reaction: with the last channel gRPC ends the threads that run
// reactions, and would wait for the one that asks.
//
// Thread safety: all members. Callbacks run on gRPC's threads, one at a time, and not within the
// constructor. The destructor waits until gRPC is done with it, which a cancelled call soon is; no
// callback begins afterwards. REQUIRES: not destroyed by a callback.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "client/rpc_error.h"

namespace muster::client {

template <typename Request, typename Response>
class GrpcStream : private grpc::ClientBidiReactor<Request, Response> {
 public:
  using Reactor = grpc::ClientBidiReactor<Request, Response>;
  struct Callbacks {
    // True: the next one may come; otherwise not before ReadNext.
    std::function<bool(Response message)> on_message;
    // The last one. OK: the server ended it without saying why.
    std::function<void(absl::Status status)> on_end;
  };

  // `start`: begins the call, by the stub's async().
  GrpcStream(std::shared_ptr<grpc::Channel> channel, const std::string& token,
             const std::function<void(grpc::ClientContext*, Reactor*)>& start, Callbacks callbacks)
      : channel_(std::move(channel)), callbacks_(std::move(callbacks)) {
    if (!token.empty()) context_.AddMetadata("authorization", "Bearer " + token);
    start(&context_, this);
    this->AddHold();
    this->StartRead(&message_);
    this->StartCall();
  }
  ~GrpcStream() override {
    {
      base::MutexLock lock(mu_);
      closed_ = true;
      if (!over_) End();
    }
    context_.TryCancel();
    base::MutexLock lock(mu_);
    while (!done_) is_done_.Wait(mu_);
  }

  // Sent in this order, whether or not the stream is open yet.
  void Write(Request request) {
    base::MutexLock lock(mu_);
    if (over_) return;
    writes_.push_back(std::move(request));
    if (writes_.size() == 1) this->StartWrite(&writes_.front());
  }

  void ReadNext() {
    base::MutexLock lock(mu_);
    if (!over_) this->StartRead(&message_);
  }

 private:
  void OnReadDone(bool ok) override {
    base::MutexLock lock(mu_);
    if (over_) return;
    if (!ok) return End();
    const bool next = callbacks_.on_message(std::move(message_));
    message_.Clear();
    if (next) this->StartRead(&message_);
  }

  void OnWriteDone(bool ok) override {
    base::MutexLock lock(mu_);
    // The read fails as well, and ends it.
    if (!ok || over_) return;
    writes_.pop_front();
    if (!writes_.empty()) this->StartWrite(&writes_.front());
  }

  void OnDone(const grpc::Status& status) override {
    base::MutexLock lock(mu_);
    if (!closed_) callbacks_.on_end(ToStatus(status));
    done_ = true;
    is_done_.NotifyAll();
  }

  void End() MUSTER_REQUIRES(mu_) {
    over_ = true;
    this->RemoveHold();
  }

  const std::shared_ptr<grpc::Channel> channel_;
  grpc::ClientContext context_;
  // Callbacks run with it.
  base::Mutex mu_;
  base::CondVar is_done_;
  const Callbacks callbacks_;
  Response message_;                                   // gRPC's while a read is under way
  std::deque<Request> writes_ MUSTER_GUARDED_BY(mu_);  // the first one is being written
  bool over_ MUSTER_GUARDED_BY(mu_) = false;           // nothing may be started any more
  bool closed_ MUSTER_GUARDED_BY(mu_) = false;         // by the owner: nothing may be told any more
  bool done_ MUSTER_GUARDED_BY(mu_) = false;
};

}  // namespace muster::client

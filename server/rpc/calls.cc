#include "server/rpc/calls.h"

#include <grpc/grpc.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "base/handover.h"
#include "server/rpc/corks.h"
#include "server/rpc/errors.h"
#include "server/rpc/unary.h"

namespace muster::rpc {
namespace {

constexpr size_t kStreamsOnMain = 256;
constexpr int kStripes = 8;

// As many as gRPC's own callback API has.
int MainThreads() {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()) / 2, 2, 16);
}

// Its threads wait for completions only and never for sockets: that is the main queue's business.
std::unique_ptr<grpc::CompletionQueue> NotPolling() {
  const grpc_completion_queue_attributes attributes{GRPC_CQ_CURRENT_VERSION, GRPC_CQ_NEXT,
                                                    GRPC_CQ_NON_POLLING, nullptr};
  const auto* factory = grpc_completion_queue_factory_lookup(&attributes);
  return std::make_unique<grpc::CompletionQueue>(
      grpc_completion_queue_create(factory, &attributes, nullptr));
}

thread_local bool t_serves_a_queue = false;

// Until the queue has been shut down and is empty.
void ServeQueue(grpc::CompletionQueue& queue) {
  t_serves_a_queue = true;
  void* tag = nullptr;
  bool ok = false;
  bool more = queue.Next(&tag, &ok);
  while (more) {
    // What this tag's reaction starts and gRPC completes at once comes next, on this thread.
    more = queue.DoThenAsyncNext([&] { CallTag::Take(tag).Run(ok); }, &tag, &ok,
                                 gpr_inf_future(GPR_CLOCK_MONOTONIC)) ==
           grpc::CompletionQueue::GOT_EVENT;
  }
}

// What `start` starts on the queue and gRPC completes at once is reacted to here.
template <typename Start>
void StartHere(grpc::CompletionQueue& queue, Start start) {
  if (t_serves_a_queue) return start();
  // What is cached keeps it alive; else the queue may be gone once its last call is.
  grpc_completion_queue* const cq = queue.cq();
  grpc_completion_queue_thread_local_cache_init(cq);
  start();
  void* completed = nullptr;
  int success = 0;
  if (grpc_completion_queue_thread_local_cache_flush(cq, &completed, &success) == 0) return;
  bool ok = success != 0;
  void* tag = nullptr;
  auto* of_grpc = static_cast<grpc::internal::CompletionQueueTag*>(completed);
  if (of_grpc->FinalizeResult(&tag, &ok)) CallTag::Take(tag).Run(ok);
}

}  // namespace

void* CallTag::Give() {
  base::HandOver(this);
  return this;
}

CallTag& CallTag::Take(void* tag) {
  base::TakeOver(tag);
  return *static_cast<CallTag*>(tag);
}

// One call, from when it is asked for.
class UnaryState {
 public:
  UnaryState(Calls& calls, const Calls::UnaryMethod& method) : calls_(calls), method_(method) {
    calls_.Asked();
    context_.AsyncNotifyWhenDone(ended_.Give());
    method_.ask(&context_, &request_, &writer_, calls_.main_.get(), calls_.main_.get(),
                arrived_.Give());
  }

  void Arrived(bool ok) {
    if (!ok) return Delete();
    if (!calls_.stopping_) new UnaryState(calls_, method_);
    calls_.Arrived();
    method_.handle(UnaryCall(*this));
    Release();
  }
  void Ended(bool) {
    if (context_.IsCancelled()) {
      std::function<void()> reaction;
      {
        base::MutexLock lock(mu_);
        cancelled_ = true;
        reaction = std::move(on_cancel_);
      }
      if (reaction) reaction();
    }
    Release();
  }
  void Finished(bool) {
    calls_.Ended();
    Release();
  }

  void OnCancel(std::function<void()> reaction) {
    {
      base::MutexLock lock(mu_);
      if (!cancelled_) {
        on_cancel_ = std::move(reaction);
        return;
      }
    }
    reaction();
  }
  // Nothing of the call is touched after Finish: another thread may be done with it.
  template <typename Finish>
  void End(Finish finish) {
    if (calls_.corks_ != nullptr) calls_.corks_->BeforeReply([&] { return context_.peer(); });
    StartHere(*calls_.main_, [&] { finish(writer_, finished_.Give()); });
  }

  const grpc::ServerContext& context() const { return context_; }
  const grpc::ByteBuffer& request() const { return request_; }

 private:
  struct Tag final : CallTag {
    using Event = void (UnaryState::*)(bool);
    Tag(UnaryState& of, Event event) : state(of), ran(event) {}
    void Run(bool ok) override { (state.*ran)(ok); }
    UnaryState& state;
    const Event ran;
  };

  void Release() {
    if (under_way_.fetch_sub(1, std::memory_order_acq_rel) == 1) Delete();
  }
  void Delete() {
    Calls& calls = calls_;
    delete this;
    calls.Gone();
  }

  Calls& calls_;
  const Calls::UnaryMethod& method_;
  grpc::ServerContext context_;
  grpc::ByteBuffer request_;
  grpc::ServerAsyncResponseWriter<grpc::ByteBuffer> writer_{&context_};
  Tag arrived_{*this, &UnaryState::Arrived};
  Tag ended_{*this, &UnaryState::Ended};
  Tag finished_{*this, &UnaryState::Finished};
  std::atomic<int> under_way_{3};  // the handler, the end of the call, and Finish
  base::Mutex mu_;
  bool cancelled_ MUSTER_GUARDED_BY(mu_) = false;
  std::function<void()> on_cancel_ MUSTER_GUARDED_BY(mu_);
};

const grpc::ServerContext& UnaryCall::context() const { return state_->context(); }
const grpc::ByteBuffer& UnaryCall::request() const { return state_->request(); }
void UnaryCall::OnCancel(std::function<void()> reaction) const {
  state_->OnCancel(std::move(reaction));
}
void UnaryCall::End(const absl::Status& status) const {
  state_->End([&](auto& writer, void* tag) { writer.FinishWithError(ToGrpc(status), tag); });
}
void UnaryCall::End(const grpc::ByteBuffer& response) const {
  state_->End([&](auto& writer, void* tag) { writer.Finish(response, grpc::Status::OK, tag); });
}

struct StreamCall::Method {
  std::function<void(Calls&, const Method&)> ask;
  Calls::HandleStream handle;
};

template <typename Stream>
class StreamCall::Of final : public StreamCall {
 public:
  // Asks for the next call.
  template <typename Ask>
  Of(Calls& calls, const Method& method, const Ask& ask) : StreamCall(calls, method) {
    auto* asked = calls_.main_.get();
    if constexpr (kReads) {
      ask(&context_, &stream_, &queue_, asked, arrived_.Give());
    } else {
      ask(&context_, &request_, &stream_, &queue_, asked, arrived_.Give());
    }
  }

 private:
  static constexpr bool kReads = std::is_same_v<Stream, Calls::Bidi>;

  void Read(grpc::ByteBuffer* into, void* tag) override {
    if constexpr (kReads) stream_.Read(into, tag);
  }
  void Write(const grpc::ByteBuffer& bytes, void* tag) override { stream_.Write(bytes, tag); }
  void End(const grpc::Status& status, void* tag) override { stream_.Finish(status, tag); }

  Stream stream_{&context_};
};

StreamCall::StreamCall(Calls& calls, const Method& method)
    : calls_(calls), method_(method), queue_(calls.PlaceStream()) {
  calls_.Asked();
  context_.AsyncNotifyWhenDone(ended_.Give());
}

StreamCall::~StreamCall() {
  if (&queue_ == calls_.main_.get()) calls_.on_main_.fetch_sub(1, std::memory_order_relaxed);
}

void StreamCall::Arrived(bool ok) {
  Calls& calls = calls_;
  if (!ok) {
    delete this;
    return calls.Gone();
  }
  if (!calls.stopping_) method_.ask(calls, method_);
  calls.Arrived();
  method_.handle(*this);
  Release();
}

void StreamCall::Bind(StreamReactor* reactor) {
  reactor_ = reactor;
  reactor->call_ = this;
  if (bound_.exchange(Bound::kYes) == Bound::kCancelledBefore) reactor->OnCancel();
}

void StreamCall::Ended(bool) {
  if (context_.IsCancelled()) {
    auto expected = Bound::kNo;
    if (!bound_.compare_exchange_strong(expected, Bound::kCancelledBefore)) reactor_->OnCancel();
  }
  Release();
}

void StreamCall::StartRead(grpc::ByteBuffer* into) {
  under_way_.fetch_add(1, std::memory_order_relaxed);
  Read(into, read_.Give());
}
void StreamCall::StartWrite(const grpc::ByteBuffer& bytes) {
  under_way_.fetch_add(1, std::memory_order_relaxed);
  Write(bytes, write_.Give());
}
void StreamCall::StartWriteHere(const grpc::ByteBuffer& bytes) {
  StartHere(queue_, [&] { StartWrite(bytes); });
}
void StreamCall::Finish(const absl::Status& status) { End(ToGrpc(status), finished_.Give()); }

void StreamCall::ReadDone(bool ok) {
  reactor_->OnReadDone(ok);
  Release();
}
void StreamCall::WriteDone(bool ok) {
  reactor_->OnWriteDone(ok);
  Release();
}
void StreamCall::Finished(bool) { Release(); }

void StreamCall::Release() {
  if (under_way_.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
  if (reactor_ != nullptr) reactor_->OnDone();
  Calls& calls = calls_;
  delete this;
  calls.Ended();
  calls.Gone();
}

void StreamReactor::StartRead(grpc::ByteBuffer* into) { call_->StartRead(into); }
void StreamReactor::StartWrite(const grpc::ByteBuffer& bytes) { call_->StartWrite(bytes); }
void StreamReactor::StartWriteHere(const grpc::ByteBuffer& bytes) { call_->StartWriteHere(bytes); }
void StreamReactor::Finish(const absl::Status& status) { call_->Finish(status); }
void StreamReactor::Cancel() { call_->Cancel(); }

Calls::Calls(const Corks* corks) : corks_(corks) {}

Calls::~Calls() { Stop(); }

void Calls::Unary(AskUnary ask, std::function<void(const UnaryCall&)> handle, int ahead) {
  unary_.push_back(
      std::make_unique<UnaryMethod>(UnaryMethod{std::move(ask), std::move(handle), ahead}));
}

void Calls::BidiStream(AskBidi ask, HandleStream handle) {
  streams_.push_back(std::make_unique<StreamCall::Method>(
      StreamCall::Method{[ask = std::move(ask)](Calls& calls, const auto& method) {
                           new StreamCall::Of<Bidi>(calls, method, ask);
                         },
                         std::move(handle)}));
}

void Calls::ServerStream(AskWriter ask, HandleStream handle) {
  streams_.push_back(std::make_unique<StreamCall::Method>(
      StreamCall::Method{[ask = std::move(ask)](Calls& calls, const auto& method) {
                           new StreamCall::Of<Writer>(calls, method, ask);
                         },
                         std::move(handle)}));
}

void Calls::AddTo(grpc::ServerBuilder& builder) {
  main_ = builder.AddCompletionQueue();
  for (int i = 0; i < kStripes; ++i) stripes_.push_back(NotPolling());
}

void Calls::Start() {
  for (const auto& method : unary_) {
    for (int i = 0; i < method->ahead; ++i) new UnaryState(*this, *method);
  }
  for (const auto& method : streams_) {
    for (int i = 0; i < kSeldom; ++i) method->ask(*this, *method);
  }
  for (int i = 0; i < MainThreads(); ++i) {
    threads_.emplace_back("muster-grpc", [this] { ServeQueue(*main_); });
  }
  for (const auto& stripe : stripes_) {
    threads_.emplace_back("muster-streams", [&stripe] { ServeQueue(*stripe); });
  }
}

void Calls::Stop() {
  if (main_ == nullptr) return;
  stopping_ = true;
  if (!threads_.empty()) {
    base::MutexLock lock(mu_);
    while (live_.load(std::memory_order_acquire) > 0) none_live_.Wait(mu_);
  }
  main_->Shutdown();
  for (const auto& stripe : stripes_) stripe->Shutdown();
  // A queue has to be emptied before it goes, also one that never had a thread.
  if (threads_.empty()) {
    ServeQueue(*main_);
    for (const auto& stripe : stripes_) ServeQueue(*stripe);
    t_serves_a_queue = false;
  }
  threads_.clear();
  stripes_.clear();
  main_.reset();
}

size_t Calls::streams_placed() const { return placed_.load(std::memory_order_relaxed); }

void Calls::Gone() {
  if (live_.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
  base::MutexLock lock(mu_);
  none_live_.NotifyAll();
}

grpc::CompletionQueue& Calls::PlaceStream() {
  if (on_main_.fetch_add(1, std::memory_order_relaxed) < kStreamsOnMain) return *main_;
  on_main_.fetch_sub(1, std::memory_order_relaxed);
  return *stripes_[placed_.fetch_add(1, std::memory_order_relaxed) % stripes_.size()];
}

}  // namespace muster::rpc

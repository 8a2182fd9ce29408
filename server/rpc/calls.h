// Calls: gRPC's asynchronous server API on threads and completion queues of our own
// (docs/adr/0010-streams-have-completion-queues-of-their-own.md).
//
//   Calls calls;
//   registry_service.ServeOn(calls);               // calls.Unary(...), calls.BidiStream(...)
//   calls.AddTo(builder);
//   builder.RegisterService(&registry_service);
//   server = builder.BuildAndStart();
//   calls.Start();
//   ...
//   server->Shutdown(deadline);
//   calls.Stop();
//
// Handlers run on the threads of the main queue, or where a call is answered, and must not block.
// The first streams are on the main queue, all later ones on the queues for streams. Answer, End
// and StartWriteHere are called without locks: reactions of other calls may run in them.
//
// Thread safety: UnaryCall and StreamCall as they say; Calls belongs to the thread that starts it.
// Ownership: the services outlive this; this outlives the gRPC server's last call.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/async_unary_call.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "base/thread.h"

namespace grpc {
class ServerBuilder;
}

namespace muster::rpc {

class Calls;
class Corks;
class StreamCall;
class UnaryCall;
class UnaryState;

// What a completion queue hands out. Run is called once for each time it was given to gRPC.
class CallTag {
 public:
  virtual void Run(bool ok) = 0;

  // For gRPC, and back. What was done before the first is seen after the second: ThreadSanitizer is
  // told so, since gRPC isn't instrumented.
  void* Give();
  static CallTag& Take(void* tag);

 protected:
  ~CallTag() = default;
};

// What becomes of a stream. Reactions run on any thread, one write and one read at a time.
class StreamReactor {
 public:
  virtual ~StreamReactor() = default;

  virtual void OnReadDone(bool) {}
  virtual void OnWriteDone(bool ok) = 0;
  // The client gave up, or is gone. Finish has to be called all the same.
  virtual void OnCancel() {}
  // The last reaction: the call is gone after it.
  virtual void OnDone() = 0;

  // As StreamCall's. REQUIRES: bound.
  void StartRead(grpc::ByteBuffer* into);
  void StartWrite(const grpc::ByteBuffer& bytes);
  void StartWriteHere(const grpc::ByteBuffer& bytes);
  void Finish(const absl::Status& status);
  void Cancel();

 private:
  friend class StreamCall;
  StreamCall* call_ = nullptr;
};

// One stream, from its arrival until all that was started on it has ended. Thread safety: one read,
// one write, and Finish once, after the last write has been started.
class StreamCall {
 public:
  const grpc::ServerContext& context() const { return context_; }
  // Of a call with one request.
  const grpc::ByteBuffer& request() const { return request_; }
  // For a client that takes nothing. Finish has to be called all the same.
  void Cancel() { context_.TryCancel(); }

  // To be called once by the handler, before anything is started, unless it only calls Finish.
  void Bind(StreamReactor* reactor);
  void StartRead(grpc::ByteBuffer* into);
  // The bytes may go once this returns.
  void StartWrite(const grpc::ByteBuffer& bytes);
  // The same, for a thread that writes to very many streams: when the transport takes the bytes at
  // once, as it nearly always does, OnWriteDone runs here before this returns, and no other thread
  // is woken for it.
  void StartWriteHere(const grpc::ByteBuffer& bytes);
  void Finish(const absl::Status& status);

 protected:
  struct Method;
  StreamCall(Calls& calls, const Method& method);
  virtual ~StreamCall();

  virtual void Read(grpc::ByteBuffer* into, void* tag) = 0;
  virtual void Write(const grpc::ByteBuffer& bytes, void* tag) = 0;
  virtual void End(const grpc::Status& status, void* tag) = 0;

  struct Tag final : CallTag {
    using Event = void (StreamCall::*)(bool);
    Tag(StreamCall& of, Event event) : call(of), ran(event) {}
    void Run(bool ok) override { (call.*ran)(ok); }
    StreamCall& call;
    const Event ran;
  };

  Calls& calls_;
  const Method& method_;
  grpc::CompletionQueue& queue_;
  grpc::ServerContext context_;
  grpc::ByteBuffer request_;
  Tag arrived_{*this, &StreamCall::Arrived};

 private:
  friend class Calls;
  template <typename Stream>
  class Of;

  void Arrived(bool ok);
  void ReadDone(bool ok);
  void WriteDone(bool ok);
  void Ended(bool ok);
  void Finished(bool ok);
  void Release();

  enum class Bound : uint8_t { kNo, kYes, kCancelledBefore };

  Tag read_{*this, &StreamCall::ReadDone};
  Tag write_{*this, &StreamCall::WriteDone};
  Tag ended_{*this, &StreamCall::Ended};
  Tag finished_{*this, &StreamCall::Finished};
  StreamReactor* reactor_ = nullptr;
  std::atomic<Bound> bound_{Bound::kNo};
  // Reads and writes under way, the handler, the end of the call, and Finish.
  std::atomic<int> under_way_{3};
};

class Calls {
 public:
  // gRPC's Request… of one method: asks for its next call.
  using AskUnary = std::function<void(grpc::ServerContext*, grpc::ByteBuffer*,
                                      grpc::ServerAsyncResponseWriter<grpc::ByteBuffer>*,
                                      grpc::CompletionQueue*, grpc::ServerCompletionQueue*, void*)>;
  using Bidi = grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>;
  using AskBidi = std::function<void(grpc::ServerContext*, Bidi*, grpc::CompletionQueue*,
                                     grpc::ServerCompletionQueue*, void*)>;
  using Writer = grpc::ServerAsyncWriter<grpc::ByteBuffer>;
  using AskWriter =
      std::function<void(grpc::ServerContext*, grpc::ByteBuffer*, Writer*, grpc::CompletionQueue*,
                         grpc::ServerCompletionQueue*, void*)>;
  using HandleStream = std::function<void(StreamCall&)>;

  // `corks` gathers the answers to calls, and outlives this; null: none are gathered.
  explicit Calls(const Corks* corks = nullptr);
  ~Calls();
  Calls(const Calls&) = delete;

  // Of a method, so many calls are asked for ahead; more than that wait in gRPC for a moment. Each
  // that is asked for makes all calls of the main queue a little dearer (docs/adr/0010).
  static constexpr int kOften = 16;
  static constexpr int kSeldom = 2;

  // Before AddTo. `handle` is called for each call of the method, which it ends or hands on.
  void Unary(AskUnary ask, std::function<void(const UnaryCall&)> handle, int ahead = kSeldom);
  // A stream of requests and one of responses.
  void BidiStream(AskBidi ask, HandleStream handle);
  // One request, and a stream of responses.
  void ServerStream(AskWriter ask, HandleStream handle);

  void AddTo(grpc::ServerBuilder& builder);
  // REQUIRES: the server has been started.
  void Start();
  // Waits until all calls have ended, which the shutdown of the server makes them do, and joins.
  // REQUIRES: the server has been shut down. Idempotent.
  void Stop();

  // Calls that have arrived and not ended: their answers are not out.
  uint64_t open() const { return open_.load(std::memory_order_acquire); }
  // On the queues for streams, since the start.
  size_t streams_placed() const;

 private:
  friend class StreamCall;
  friend class UnaryState;
  struct UnaryMethod {
    AskUnary ask;
    std::function<void(const UnaryCall&)> handle;
    int ahead;
  };

  // Where the next stream goes.
  grpc::CompletionQueue& PlaceStream();
  void Asked() { live_.fetch_add(1, std::memory_order_relaxed); }
  void Arrived() { open_.fetch_add(1, std::memory_order_relaxed); }
  void Ended() { open_.fetch_sub(1, std::memory_order_release); }
  void Gone();

  const Corks* const corks_;
  std::vector<std::unique_ptr<UnaryMethod>> unary_;
  std::vector<std::unique_ptr<StreamCall::Method>> streams_;
  std::unique_ptr<grpc::ServerCompletionQueue> main_;
  std::vector<std::unique_ptr<grpc::CompletionQueue>> stripes_;
  std::atomic<size_t> on_main_{0};  // streams
  std::atomic<size_t> placed_{0};   // on the others, ever
  // Calls that were asked for or are open.
  std::atomic<size_t> live_{0};
  std::atomic<uint64_t> open_{0};
  std::atomic<bool> stopping_{false};
  base::Mutex mu_;
  base::CondVar none_live_;
  std::vector<base::NamedThread> threads_;  // last
};

}  // namespace muster::rpc

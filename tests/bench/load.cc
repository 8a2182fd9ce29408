#include "tests/bench/load.h"

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>

#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/thread.h"

namespace muster::bench {
namespace {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

constexpr auto kPatience = std::chrono::seconds(30);

// The queue's deadlines are in system time.
auto SystemDeadline(TimePoint when) {
  return std::chrono::system_clock::now() +
         std::chrono::duration_cast<std::chrono::system_clock::duration>(when - Clock::now());
}

absl::Status ToAbsl(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

// What the threads of one load share.
struct Shared {
  TimePoint begin;
  TimePoint end;
  std::atomic<uint64_t> next{0};
  std::atomic<bool> failed{false};
};

// What one thread counted.
struct Tally {
  uint64_t operations = 0;
  TimePoint last;
  LatencyHistogram latency;
  absl::Status status;

  void Answered(TimePoint sent) {
    ++operations;
    last = Clock::now();
    latency.Add(absl::FromChrono(last - sent));
  }
  void Fail(const absl::Status& error, Shared& shared) {
    if (status.ok()) status = error;
    shared.failed.store(true, std::memory_order_relaxed);
  }
};

// One place in the calls under way of a thread, used again and again.
struct CallSlot {
  std::optional<grpc::ClientContext> context;
  std::unique_ptr<grpc::ClientAsyncResponseReader<grpc::ByteBuffer>> reader;
  grpc::ByteBuffer request;
  grpc::ByteBuffer response;
  grpc::Status status;
  uint64_t number = 0;
  TimePoint sent;
};

class UnaryRun {
 public:
  UnaryRun(const UnaryLoad& load, std::vector<grpc::GenericStub>& stubs, size_t in_flight,
           double per_second, Shared& shared)
      : load_(load),
        stubs_(stubs),
        slots_(in_flight),
        interval_(per_second > 0 ? std::chrono::duration_cast<Clock::duration>(
                                       std::chrono::duration<double>(1 / per_second))
                                 : Clock::duration::zero()),
        due_(shared.begin),
        more_(in_flight > 0),
        shared_(shared) {}

  Tally Run() {
    for (CallSlot& slot : slots_) idle_.push_back(&slot);
    tally_.last = shared_.begin;
    StartIdle();
    while (busy_ > 0 || more_) {
      if (!Await()) break;
      StartIdle();
    }
    queue_.Shutdown();
    void* tag = nullptr;
    for (bool ok = false; queue_.Next(&tag, &ok);) {
    }
    return std::move(tally_);
  }

 private:
  bool paced() const { return interval_ > Clock::duration::zero(); }

  void StartIdle() {
    while (more_ && !idle_.empty()) {
      const TimePoint now = Clock::now();
      more_ = now < shared_.end && !shared_.failed.load(std::memory_order_relaxed);
      if (!more_ || (paced() && due_ > now)) return;
      Start(*idle_.back(), paced() ? std::exchange(due_, due_ + interval_) : now);
    }
  }
  void Start(CallSlot& slot, TimePoint sent) {
    slot.number = shared_.next.fetch_add(1, std::memory_order_relaxed);
    more_ = load_.request(slot.number, &slot.request);
    if (!more_) return;
    idle_.pop_back();
    ++busy_;
    slot.sent = sent;
    slot.reader.reset();  // lives in the memory of the call that the context holds
    slot.context.emplace();
    slot.response.Clear();
    slot.reader = stubs_[started_++ % stubs_.size()].PrepareUnaryCall(&*slot.context, load_.method,
                                                                      slot.request, &queue_);
    slot.reader->StartCall();
    slot.reader->Finish(&slot.response, &slot.status, &slot);
  }

  // Until one is answered, or the next is due. False: the server answers no more.
  bool Await() {
    const TimePoint patient = Clock::now() + kPatience;
    const bool timed = more_ && paced() && !idle_.empty();
    void* tag = nullptr;
    bool ok = false;
    switch (queue_.AsyncNext(&tag, &ok, SystemDeadline(timed ? due_ : patient))) {
      case grpc::CompletionQueue::GOT_EVENT:
        Finished(*static_cast<CallSlot*>(tag));
        return true;
      case grpc::CompletionQueue::TIMEOUT:
        if (timed) return true;
        break;
      case grpc::CompletionQueue::SHUTDOWN:
        break;
    }
    tally_.Fail(absl::DeadlineExceededError(load_.method + ": no answer for 30 s"), shared_);
    for (CallSlot& slot : slots_) {
      if (slot.context) slot.context->TryCancel();
    }
    return false;
  }
  void Finished(CallSlot& slot) {
    --busy_;
    idle_.push_back(&slot);
    absl::Status status = ToAbsl(slot.status);
    if (status.ok()) tally_.Answered(slot.sent);
    if (status.ok() && load_.reply) status = load_.reply(slot.number, slot.response);
    if (!status.ok()) tally_.Fail(status, shared_);
  }

  const UnaryLoad& load_;
  std::vector<grpc::GenericStub>& stubs_;
  std::vector<CallSlot> slots_;
  std::vector<CallSlot*> idle_;
  const Clock::duration interval_;
  TimePoint due_;
  size_t started_ = 0;
  size_t busy_ = 0;
  bool more_;
  Shared& shared_;
  Tally tally_;
  grpc::CompletionQueue queue_;  // last: its events use the others
};

// One stream: start, then write and read in turn, then finish. One operation is under way at a time
// but for the read, which is started together with the write that it answers.
struct StreamSlot {
  enum class Step : uint8_t { kStart, kTalk, kFinish, kDone };
  // Which of the operations an event tells of.
  struct Tag {
    StreamSlot* slot;
    bool read;
  };
  grpc::ClientContext context;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream;
  grpc::ByteBuffer request;
  grpc::ByteBuffer response;
  grpc::Status status;
  uint64_t number = 0;
  TimePoint sent;
  Step step = Step::kStart;
  int waiting = 0;  // events to come in this step
  bool broken = false;
  Tag other{this, false};
  Tag read{this, true};
};

class StreamRun {
 public:
  StreamRun(const StreamLoad& load, std::vector<grpc::GenericStub>& stubs, size_t streams,
            Shared& shared)
      : load_(load), slots_(streams), shared_(shared) {
    tally_.last = shared.begin;
    for (size_t i = 0; i < streams; ++i) {
      slots_[i].stream =
          stubs[i % stubs.size()].PrepareCall(&slots_[i].context, load.method, &queue_);
    }
  }

  Tally Run() {
    for (StreamSlot& slot : slots_) {
      slot.waiting = 1;
      slot.stream->StartCall(&slot.other);
    }
    size_t open = slots_.size();
    while (open > 0) {
      void* tag = nullptr;
      bool ok = false;
      if (queue_.AsyncNext(&tag, &ok, SystemDeadline(Clock::now() + kPatience)) !=
          grpc::CompletionQueue::GOT_EVENT) {
        GiveUp();
        break;
      }
      const auto* event = static_cast<StreamSlot::Tag*>(tag);
      StreamSlot& slot = *event->slot;
      if (!ok) slot.broken = true;
      if (--slot.waiting > 0) continue;
      Next(slot);
      if (slot.step == StreamSlot::Step::kDone) --open;
    }
    queue_.Shutdown();
    void* tag = nullptr;
    for (bool ok = false; queue_.Next(&tag, &ok);) {
    }
    return std::move(tally_);
  }

 private:
  // All operations of the slot's step are over.
  void Next(StreamSlot& slot) {
    if (slot.step == StreamSlot::Step::kFinish) return Ended(slot);
    if (slot.step == StreamSlot::Step::kTalk && !slot.broken) Answered(slot);
    if (!slot.broken && Talk(slot)) return;
    slot.step = StreamSlot::Step::kFinish;
    if (slot.broken) {
      slot.waiting = 1;
    } else {
      slot.waiting = 2;
      slot.stream->WritesDone(&slot.other);
    }
    slot.stream->Finish(&slot.status, &slot.other);
  }
  bool Talk(StreamSlot& slot) {
    slot.sent = Clock::now();
    if (slot.sent >= shared_.end || shared_.failed.load(std::memory_order_relaxed)) return false;
    slot.number = shared_.next.fetch_add(1, std::memory_order_relaxed);
    if (!load_.request(slot.number, &slot.request)) return false;
    slot.step = StreamSlot::Step::kTalk;
    slot.waiting = 2;
    slot.stream->Write(slot.request, &slot.other);
    slot.stream->Read(&slot.response, &slot.read);
    return true;
  }
  void Answered(StreamSlot& slot) {
    tally_.Answered(slot.sent);
    if (!load_.reply) return;
    const absl::Status status = load_.reply(slot.number, slot.response);
    if (!status.ok()) tally_.Fail(status, shared_);
  }
  void Ended(StreamSlot& slot) {
    slot.step = StreamSlot::Step::kDone;
    if (absl::Status status = ToAbsl(slot.status); !status.ok()) tally_.Fail(status, shared_);
  }
  void GiveUp() {
    tally_.Fail(absl::DeadlineExceededError(load_.method + ": no answer for 30 s"), shared_);
    for (StreamSlot& slot : slots_) slot.context.TryCancel();
  }

  const StreamLoad& load_;
  std::vector<StreamSlot> slots_;
  Shared& shared_;
  Tally tally_;
  grpc::CompletionQueue queue_;  // last: its events use the others
};

absl::StatusOr<LoadResult> Sum(const std::vector<Tally>& tallies, TimePoint begin) {
  LoadResult result;
  TimePoint last = begin;
  for (const Tally& tally : tallies) {
    if (!tally.status.ok()) return tally.status;
    result.operations += tally.operations;
    result.latency.Merge(tally.latency);
    last = std::max(last, tally.last);
  }
  result.elapsed = absl::FromChrono(last - begin);
  return result;
}

// A share of `whole` for part `i` of `parts`; together they are the whole.
size_t ShareOf(size_t whole, size_t i, size_t parts) {
  return whole / parts + (i < whole % parts ? 1 : 0);
}

}  // namespace

void LatencyHistogram::Add(absl::Duration latency) {
  const auto ns = static_cast<uint64_t>(std::max<int64_t>(absl::ToInt64Nanoseconds(latency), 1));
  const auto doubling = static_cast<size_t>(std::bit_width(ns) - 1);
  const uint64_t above = ns - (uint64_t{1} << doubling);
  const uint64_t part = doubling >= 6 ? above >> (doubling - 6) : above << (6 - doubling);
  ++buckets_[std::min(doubling * kParts + part, buckets_.size() - 1)];
  ++count_;
}

void LatencyHistogram::Merge(const LatencyHistogram& other) {
  for (size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
}

absl::Duration LatencyHistogram::Quantile(double share) const {
  const auto wanted = static_cast<uint64_t>(std::ceil(static_cast<double>(count_) * share));
  uint64_t seen = 0;
  for (size_t i = 0; i < buckets_.size() && count_ > 0; ++i) {
    seen += buckets_[i];
    if (seen < wanted) continue;
    const double low = std::ldexp(1.0, static_cast<int>(i / kParts));
    return absl::Nanoseconds(low * (1 + static_cast<double>(i % kParts) / kParts));
  }
  return absl::ZeroDuration();
}

struct Client::Thread {
  std::vector<grpc::GenericStub> stubs;
};

Client::Client(const std::string& address, size_t connections, size_t threads) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetMaxReceiveMessageSize(64 << 20);
  for (size_t i = 0; i < threads; ++i) {
    threads_.push_back(std::make_unique<Thread>());
    for (size_t j = 0; j < connections; ++j) {
      const auto channel =
          grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
      channel->WaitForConnected(std::chrono::system_clock::now() + kPatience);
      threads_.back()->stubs.emplace_back(channel);
    }
  }
}

Client::~Client() = default;

absl::StatusOr<LoadResult> Client::Call(const UnaryLoad& load, absl::Duration duration) {
  Shared shared;
  shared.begin = Clock::now();
  shared.end = shared.begin + absl::ToChronoNanoseconds(duration);
  std::vector<Tally> tallies(threads_.size());
  {
    std::vector<base::NamedThread> running;
    for (size_t i = 0; i < threads_.size(); ++i) {
      running.emplace_back(absl::StrCat("load-", i), [&, i] {
        UnaryRun run(load, threads_[i]->stubs, ShareOf(load.in_flight, i, threads_.size()),
                     load.per_second / static_cast<double>(threads_.size()), shared);
        tallies[i] = run.Run();
      });
    }
  }
  return Sum(tallies, shared.begin);
}

absl::StatusOr<LoadResult> Client::Converse(const StreamLoad& load, absl::Duration duration) {
  Shared shared;
  shared.begin = Clock::now();
  shared.end = shared.begin + absl::ToChronoNanoseconds(duration);
  std::vector<Tally> tallies(threads_.size());
  {
    std::vector<base::NamedThread> running;
    for (size_t i = 0; i < threads_.size(); ++i) {
      running.emplace_back(absl::StrCat("load-", i), [&, i] {
        StreamRun run(load, threads_[i]->stubs, ShareOf(load.streams, i, threads_.size()), shared);
        tallies[i] = run.Run();
      });
    }
  }
  return Sum(tallies, shared.begin);
}

MakeRequest Same(std::string bytes) {
  return [bytes = std::move(bytes)](uint64_t, grpc::ByteBuffer* request) {
    *request = ToBuffer(bytes);
    return true;
  };
}

grpc::ByteBuffer ToBuffer(std::string_view bytes) {
  const grpc::Slice slice(bytes.data(), bytes.size());
  return {&slice, 1};
}

std::string ToString(const grpc::ByteBuffer& buffer) {
  grpc::Slice slice;
  if (!buffer.DumpToSingleSlice(&slice).ok()) return "";
  return {reinterpret_cast<const char*>(slice.begin()), slice.size()};
}

}  // namespace muster::bench

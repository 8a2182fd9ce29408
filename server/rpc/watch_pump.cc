#include "server/rpc/watch_pump.h"

#include <utility>

#include "base/errors.h"
#include "base/text.h"
#include "muster/v1/discovery.grpc.pb.h"  // for SerializationTraits

namespace muster::rpc {
namespace {

// Answers that wait for a client that sends and does not read.
constexpr size_t kMaxControl = 64;
// A client that takes nothing for so long gives its part of the budget to others; after so long the
// views of its snapshots are let go.
constexpr absl::Duration kSlow = absl::Seconds(1);
constexpr absl::Duration kStalled = absl::Seconds(10);

}  // namespace

// One call. Reactions only enqueue; everything else belongs to the pump's thread.
class WatchStream final : public StreamReactor, public std::enable_shared_from_this<WatchStream> {
 public:
  WatchStream(WatchPump& pump, WatchShared& shared, const StreamAccess& access,
              const std::string& connection)
      : session(shared, this, connection), access(access), pump_(pump) {}

  void Begin() {
    Post([](WatchPump& pump, const auto& self) { pump.Added(self); });
  }
  void OnReadDone(bool ok) override {
    Post([ok](WatchPump& pump, const auto& self) { pump.Read(self, ok); });
  }
  void OnWriteDone(bool ok) override {
    auto expected = Write::kUnderWay;
    if (ok && write_.compare_exchange_strong(expected, Write::kNone)) return;
    Post([ok](WatchPump& pump, const auto& self) { pump.Written(self, ok); });
  }
  void OnCancel() override {
    Post([](WatchPump& pump, const auto& self) { pump.Cancelled(self); });
  }
  void OnDone() override {
    Post([](WatchPump& pump, const auto& self) { pump.Removed(self); });
  }

  // A message was given to StartWrite and is not out yet.
  bool writing() const { return write_.load() != Write::kNone; }
  // The same; and if so, Written will be called when it is out.
  bool AwaitsWritten() {
    auto state = write_.load();
    while (state == Write::kUnderWay &&
           !write_.compare_exchange_weak(state, Write::kUnderWayThenCall)) {
    }
    return state != Write::kNone;
  }
  // `then_call`: Written has to be called when it is out. REQUIRES: !writing().
  void Send(const grpc::ByteBuffer& bytes, bool then_call) {
    write_ = then_call ? Write::kUnderWayThenCall : Write::kUnderWay;
    StartWriteHere(bytes);
  }
  void SetWritten() { write_ = Write::kNone; }

  WatchSession session;
  StreamAccess access;
  grpc::ByteBuffer request;  // of the read under way
  base::SteadyTime written_at;
  base::SteadyTime progress_at;
  bool reading = false;
  bool half_closed = false;
  std::optional<absl::Status> end;  // to finish with, once nothing is being written
  bool finished = false;

 private:
  // Of 10,000 streams that were sent one change nearly all have nothing to send next: gRPC's thread
  // then says so here, and the pump is not woken.
  enum class Write : uint8_t { kNone, kUnderWay, kUnderWayThenCall };

  template <typename Task>
  void Post(Task task) {
    pump_.executor_.Post(
        [&pump = pump_, self = shared_from_this(), task = std::move(task)] { task(pump, self); });
  }
  WatchPump& pump_;
  std::atomic<Write> write_{Write::kNone};
};

WatchPump::WatchPump(const core::Catalog& catalog, const core::HeldSet& held, core::WatchHub& hub,
                     base::SerialExecutor& executor, const base::Clock& clock, base::Rng& rng,
                     WatchOptions options)
    : executor_(executor),
      rng_(rng),
      options_(options),
      shared_{.catalog = catalog,
              .held = held,
              .hub = hub,
              .listener = this,
              .clock = clock,
              .limits = options.limits,
              .services = {},
              .selectors = {}} {
  hub.AddListener(this);
}

WatchPump::~WatchPump() {
  shared_.hub.RemoveListener(this);
  streams_.clear();
}

void WatchPump::Open(StreamCall& call, const StreamAccess& access) {
  auto stream = std::make_shared<WatchStream>(*this, shared_, access, call.context().peer());
  call.Bind(stream.get());
  stream->Begin();
}

void WatchPump::EndAll(absl::Status status) {
  executor_.Post([this, status = std::move(status)] {
    ended_ = status;
    std::vector<StreamPtr> all;
    for (const auto& [raw, stream] : streams_) all.push_back(stream);
    for (const StreamPtr& stream : all) End(*stream, status);
  });
}

void WatchPump::Tick() {
  executor_.Post([this] { RunTick(); });
}

void WatchPump::OnServiceChanged(std::string_view service_key) {
  bool first = false;
  {
    base::MutexLock lock(dirty_mu_);
    first = dirty_.empty();
    dirty_.insert(std::string(service_key));
  }
  if (first) executor_.Post([this] { DrainDirty(); });
}

void WatchPump::DrainDirty() {
  absl::flat_hash_set<std::string> dirty;
  {
    base::MutexLock lock(dirty_mu_);
    dirty.swap(dirty_);
  }
  for (const std::string& key : dirty) {
    const auto it = shared_.services.find(std::string_view(key));
    if (it == shared_.services.end()) continue;
    Send((*it)->subscriptions);
  }
}

void WatchPump::Send(const std::vector<Subscription*>& subscriptions) {
  std::vector<WatchStream*> streams;
  for (Subscription* s : subscriptions) {
    s->session->MarkReady(*s);
    streams.push_back(s->session->owner());
  }
  // A stream that ends here stays until its OnDone; the list of subscriptions may change.
  for (WatchStream* stream : streams) Kick(*stream);
}

Drains::Id WatchPump::BeginDrain(Drain drain) {
  static const std::vector<Subscription*>& nobody = *new std::vector<Subscription*>;
  const auto found = shared_.services.find(std::string_view(drain.service_key));
  std::vector<Subscription*> asked;
  const Drains::Id id = shared_.drains.Begin(
      std::move(drain), found == shared_.services.end() ? nobody : (*found)->subscriptions,
      shared_.clock.Steady(), &asked);
  Send(asked);
  return id;
}

void WatchPump::Added(const StreamPtr& stream) {
  streams_.emplace(stream.get(), stream);
  stream_count_.store(streams_.size(), std::memory_order_relaxed);
  SetProgressTime(*stream);
  if (ended_) return End(*stream, *ended_);
  ReadOn(*stream);
}

void WatchPump::Removed(const StreamPtr& stream) {
  stream->session.Clear();
  streams_.erase(stream.get());
  stream_count_.store(streams_.size(), std::memory_order_relaxed);
  subscription_count_.store(shared_.subscriptions, std::memory_order_relaxed);
  TakeTurns();
}

void WatchPump::ReadOn(WatchStream& stream) {
  if (stream.reading || stream.half_closed || stream.end || stream.finished ||
      stream.session.control_size() >= kMaxControl) {
    return;
  }
  stream.reading = true;
  stream.StartRead(&stream.request);
}

void WatchPump::Read(const StreamPtr& stream, bool ok) {
  stream->reading = false;
  if (stream->finished || stream->end) return;
  if (!ok) {
    // The client has said everything; what it follows goes on.
    stream->half_closed = true;
    return Kick(*stream);
  }
  v1::WatchRequest request;
  if (!grpc::SerializationTraits<v1::WatchRequest>::Deserialize(&stream->request, &request).ok()) {
    return End(*stream,
               base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
                               "request is not a muster.v1.WatchRequest"));
  }
  const absl::Status status = stream->session.Handle(request);
  subscription_count_.store(shared_.subscriptions, std::memory_order_relaxed);
  if (!status.ok()) return End(*stream, status);
  Kick(*stream);
  ReadOn(*stream);
}

void WatchPump::Written(const StreamPtr& stream, bool ok) {
  stream->SetWritten();
  stream->session.budget().Give();
  if (stream->finished) return;
  if (!ok && !stream->end) stream->end = absl::CancelledError("the client is gone");
  if (stream->end) {
    Finish(*stream);
  } else {
    Kick(*stream);
    ReadOn(*stream);
  }
  TakeTurns();
}

void WatchPump::Cancelled(const StreamPtr& stream) {
  End(*stream, absl::CancelledError("the client is gone"));
}

void WatchPump::Kick(WatchStream& stream) {
  if (stream.end || stream.finished || stream.AwaitsWritten()) return;
  auto event = stream.session.Next();
  if (!event) {
    if (stream.half_closed && stream.session.empty()) End(stream, absl::OkStatus());
    return;
  }
  Write(stream, *event);
}

void WatchPump::Write(WatchStream& stream, const grpc::ByteBuffer& event) {
  stream.written_at = shared_.clock.Steady();
  SetProgressTime(stream);
  // Reading waits for room among the answers, which may come with this one's end.
  const bool then_call = !stream.session.idle() || stream.session.budget().holds() ||
                         stream.half_closed || !stream.reading;
  stream.Send(event, then_call);
}

void WatchPump::TakeTurns() {
  while (const SnapshotTurns::Stream* next = shared_.turns.Next()) Kick(*next->owner());
}

void WatchPump::End(WatchStream& stream, const absl::Status& status) {
  if (stream.finished) return;
  stream.end = status;
  stream.session.Clear();
  subscription_count_.store(shared_.subscriptions, std::memory_order_relaxed);
  if (!stream.AwaitsWritten()) Finish(stream);
}

void WatchPump::Finish(WatchStream& stream) {
  stream.finished = true;
  stream.session.Clear();
  subscription_count_.store(shared_.subscriptions, std::memory_order_relaxed);
  stream.Finish(*stream.end);
}

void WatchPump::SetProgressTime(WatchStream& stream) {
  stream.progress_at =
      shared_.clock.Steady() + options_.progress_interval * (0.9 + 0.2 * rng_.Unit());
}

void WatchPump::SendProgress(WatchStream& stream, storage::Revision revision) {
  if (stream.writing() || stream.end || stream.finished || !stream.session.idle() ||
      stream.session.empty()) {
    return;
  }
  Write(stream, ProgressEvent(revision));
}

void WatchPump::EndRevoked() {
  for (const auto& [raw, stream] : streams_) {
    if (absl::Status status = stream->access.Recheck(); !status.ok()) End(*stream, status);
  }
}

void WatchPump::RunTick() {
  EndRevoked();
  // First the revision, then the changes: those up to it are enqueued already.
  const storage::Revision revision = shared_.catalog.revision();
  DrainDirty();
  const base::SteadyTime now = shared_.clock.Steady();
  for (const auto& [raw, stream] : streams_) {
    SnapshotTurns::Stream& budget = stream->session.budget();
    if (stream->writing() && stream->written_at + kSlow < now) budget.Stall();
    if ((stream->writing() || budget.waits()) && stream->written_at + kStalled < now) {
      stream->session.DropStalledSnapshots(now - kStalled);
    }
    if (stream->progress_at <= now) SendProgress(*stream, revision);
  }
  absl::erase_if(shared_.selectors, [](const auto& entry) { return entry.second.expired(); });
  TakeTurns();
}

}  // namespace muster::rpc

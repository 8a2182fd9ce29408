#include "storage/strand.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/log.h"
#include "storage/group.h"

namespace muster::storage {
namespace {

using base::MakeError;
using base::MutexLock;
using base::Reason;
using Verdict = UnitResult::Verdict;

constexpr absl::Duration kQueueRetryAfter = absl::Milliseconds(100);
constexpr absl::Duration kSpaceRetryAfter = absl::Seconds(5);

std::vector<UnitResult> NotCommitted(size_t count, const absl::Status& status) {
  return std::vector<UnitResult>(count, {.verdict = Verdict::kNotCommitted, .status = status});
}

absl::Status BadOp(std::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kInvalidField, what);
}

absl::Status CheckOp(const Op& op) {
  if (static_cast<int>(op.family) >= kFamilyCount) {
    return BadOp("an operation on an unknown family");
  }
  if (op.family == Family::kMeta && op.key == kSeqKey) {
    return BadOp("an operation on meta/seq, which the engine alone writes");
  }
  if (op.kind == Op::Kind::kPut && op.value.size() < kHeaderBytes) {
    return BadOp("a value without a header");
  }
  return absl::OkStatus();
}

// The group's write failed: what it would have written may or may not be durable.
void MarkFailed(std::vector<UnitResult>& results, const std::vector<bool>& wrote,
                const absl::Status& unknown, const absl::Status& frozen) {
  for (size_t i = 0; i < results.size(); ++i) {
    if (wrote[i] && results[i].verdict == Verdict::kCommitted) {
      results[i] = {.verdict = Verdict::kUnknown, .status = unknown};
    } else {
      // A verdict reached beside writes of unknown outcome tells nothing.
      results[i] = {.verdict = Verdict::kNotCommitted, .status = frozen};
    }
  }
}

}  // namespace

Strand::Strand(const EngineLimits& limits, Mode mode, GroupStore& store, const base::Clock& clock)
    : limits_(limits), mode_(mode), store_(store), clock_(clock) {}

Strand::~Strand() { Close(); }

void Strand::Start(const Revision& revision, std::vector<CommitSink*> sinks, uint64_t least_seq) {
  epoch_ = revision.epoch;
  seq_ = revision.seq;
  least_seq_ = least_seq;
  sinks_ = std::move(sinks);
  if (mode_ == Mode::kThreaded) {
    done_thread_ = std::make_unique<base::SerialExecutor>("muster-done");
  }
  {
    MutexLock lock(mu_);
    state_ = State::kOpen;
  }
  if (mode_ == Mode::kThreaded) {
    thread_ = std::make_unique<base::NamedThread>("muster-strand", [this] { Loop(); });
  }
}

void Strand::Propose(Batch batch, WriteClass write_class, Done done) {
  // Before the lock, which all who propose share with the strand, what may take long.
  const absl::Status valid = CheckUnits(batch);
  auto open = std::make_shared<OpenBatch>();
  open->batch = std::move(batch);
  open->done = std::move(done);
  const size_t count = open->batch.units.size();
  open->waiting = count;
  open->results.resize(count);
  size_t bytes = 0;
  for (const Unit& unit : open->batch.units) bytes += UnitBytes(unit);

  std::function<void()> run_here;
  {
    MutexLock lock(mu_);
    absl::Status status = Admit(valid, count, bytes, write_class);
    if (status.ok() && count > 0) return Enqueue(std::move(open), bytes);
    auto refuse = [done = std::move(open->done), count, status = std::move(status)] {
      done(NotCommitted(count, status));
    };
    if (state_ == State::kOpen || state_ == State::kClosing) {
      PostCompletion(std::move(refuse));
    } else {
      run_here = std::move(refuse);
    }
  }
  if (run_here) run_here();
}

absl::Status Strand::Admit(const absl::Status& valid, size_t count, size_t bytes,
                           WriteClass write_class) const {
  if (state_ != State::kOpen) {
    return MakeError(absl::StatusCode::kCancelled, Reason::kClosed, "the storage engine is closed");
  }
  if (frozen_) return FrozenStatus();
  if (!valid.ok()) return valid;
  if (absl::Status status = CheckSpace(write_class); !status.ok()) return status;
  return CheckRoom(count, bytes, write_class);
}

absl::Status Strand::CheckUnits(const Batch& batch) const {
  for (const Unit& unit : batch.units) {
    if (unit.ops.size() > limits_.max_unit_ops) {
      return MakeError(absl::StatusCode::kInvalidArgument, Reason::kLimitBatch,
                       absl::StrCat("a unit of ", unit.ops.size(), " operations, the limit is ",
                                    limits_.max_unit_ops));
    }
    if (const size_t bytes = UnitBytes(unit); bytes > limits_.max_unit_bytes) {
      return MakeError(
          absl::StatusCode::kInvalidArgument, Reason::kLimitBatch,
          absl::StrCat("a unit of ", bytes, " bytes, the limit is ", limits_.max_unit_bytes));
    }
    for (const Op& op : unit.ops) {
      if (absl::Status status = CheckOp(op); !status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status Strand::CheckRoom(size_t count, size_t bytes, WriteClass write_class) const {
  // One that is larger than the queue would never get in otherwise.
  if (queue_.empty()) return absl::OkStatus();
  const size_t percent =
      write_class == WriteClass::kInternal ? 100 : 100 - limits_.reserved_percent;
  if (queue_.size() + count <= limits_.queue_max * percent / 100 &&
      queue_bytes_ + bytes <= limits_.queue_max_bytes * percent / 100) {
    return absl::OkStatus();
  }
  return base::WithRetryAfter(
      MakeError(absl::StatusCode::kResourceExhausted, Reason::kQueueFull,
                absl::StrCat("the write queue is full: ", queue_.size(),
                             " units wait, the limit is ", limits_.queue_max)),
      kQueueRetryAfter);
}

void Strand::Enqueue(std::shared_ptr<OpenBatch> batch, size_t bytes) {
  queue_bytes_ += bytes;
  const std::vector<Unit>& units = batch->batch.units;
  const size_t last = units.size() - 1;
  for (size_t i = 0; i < last; ++i) {
    const size_t of_unit = UnitBytes(units[i]);
    queue_.push_back({batch, i, of_unit});
    bytes -= of_unit;
  }
  queue_.push_back({std::move(batch), last, bytes});  // what is left of them
  wake_.NotifyOne();
}

void Strand::PostCompletion(std::function<void()> completion) {
  if (mode_ == Mode::kThreaded) {
    done_thread_->Post(std::move(completion));
  } else {
    manual_completions_.push_back(std::move(completion));
  }
}

void Strand::Loop() {
  while (true) {
    std::vector<Waiting> group;
    {
      MutexLock lock(mu_);
      while (queue_.empty() && state_ == State::kOpen) wake_.Wait(mu_);
      if (queue_.empty()) return;
      group = TakeGroup();
    }
    RunGroup(std::move(group));
  }
}

size_t Strand::RunPending() {
  size_t settled = 0;
  while (true) {
    std::vector<Waiting> group;
    {
      MutexLock lock(mu_);
      if (!queue_.empty()) group = TakeGroup();
    }
    settled += group.size();
    if (!group.empty()) {
      RunGroup(std::move(group));
    } else if (!RunCompletion()) {
      return settled;
    }
  }
}

bool Strand::RunCompletion() {
  std::function<void()> completion;
  {
    MutexLock lock(mu_);
    if (manual_completions_.empty()) return false;
    completion = std::move(manual_completions_.front());
    manual_completions_.pop_front();
  }
  completion();
  return true;
}

std::vector<Strand::Waiting> Strand::TakeGroup() {
  std::vector<Waiting> group;
  size_t bytes = 0;
  while (!queue_.empty() && group.size() < limits_.group_max_units &&
         (group.empty() || bytes + queue_.front().bytes <= limits_.group_max_bytes)) {
    bytes += queue_.front().bytes;
    group.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  queue_bytes_ -= bytes;
  return group;
}

void Strand::RunGroup(std::vector<Waiting> group) {
  std::vector<Unit*> units;
  units.reserve(group.size());
  for (const Waiting& waiting : group) units.push_back(&waiting.unit());
  Settle(std::move(group), JudgeAndWrite(units));
}

std::vector<UnitResult> Strand::JudgeAndWrite(absl::Span<Unit* const> units) {
  {
    MutexLock lock(mu_);
    if (frozen_) return NotCommitted(units.size(), FrozenStatus());
  }
  JudgedGroup judged = JudgeGroup(
      units, {.last = seq_.load(std::memory_order_relaxed), .least = least_seq_},
      [this](Family family, std::string_view key) { return AppliedModSeq(family, key); },
      [this](Family family, std::string_view key) { return store_.Read(family, key); });
  if (judged.commits.empty()) return std::move(judged.results);
  if (const absl::Status status = store_.Write(judged.commits); !status.ok()) {
    if (base::ReasonOf(status) == Reason::kStorageFull) return NotCommitted(units.size(), status);
    Freeze("a write failed", std::string(status.message()));
    std::vector<bool> wrote;
    for (const Unit* unit : units) wrote.push_back(!unit->ops.empty());
    MutexLock lock(mu_);
    MarkFailed(judged.results, wrote,
               MakeError(absl::StatusCode::kUnknown, Reason::kOutcomeUnknown,
                         absl::StrCat("the write may or may not be durable: ", status.message())),
               FrozenStatus());
    return std::move(judged.results);
  }
  for (CommitSink* sink : sinks_) sink->OnCommits(judged.commits);
  seq_.store(judged.last_seq, std::memory_order_release);
  MutexLock lock(mu_);
  commits_ += judged.commits.size();
  ++groups_;
  return std::move(judged.results);
}

std::optional<uint64_t> Strand::AppliedModSeq(Family family, std::string_view key) const {
  for (const CommitSink* sink : sinks_) {
    if (const auto seq = sink->AppliedModSeq(family, key)) return seq;
  }
  return std::nullopt;
}

void Strand::Freeze(const std::string& cause, const std::string& reason) {
  {
    MutexLock lock(mu_);
    if (frozen_) return;
    frozen_ = true;
    frozen_since_ = clock_.System();
    frozen_cause_ = cause;
    frozen_reason_ = reason;
  }
  base::Log(base::LogLevel::kError, absl::StrCat(cause, ": storage is read-only until restarted"),
            {{"reason", reason}});
}

absl::Status Strand::FrozenStatus() const {
  return MakeError(
      absl::StatusCode::kUnavailable, Reason::kStorageReadOnly,
      absl::StrCat("storage is read-only since ", frozen_cause_, ": ", frozen_reason_));
}

absl::Status Strand::CheckSpace(WriteClass write_class) const {
  if (shortage_ == Shortage::kNone) return absl::OkStatus();
  if (shortage_ == Shortage::kLow && write_class == WriteClass::kInternal) return absl::OkStatus();
  return base::WithRetryAfter(
      MakeError(absl::StatusCode::kUnavailable, Reason::kStorageFull, short_reason_),
      kSpaceRetryAfter);
}

void Strand::SetShortage(Shortage shortage, const std::string& why) {
  Shortage before;
  {
    MutexLock lock(mu_);
    before = shortage_;
    if (before == Shortage::kNone && shortage != before) short_since_ = clock_.System();
    shortage_ = shortage;
    short_reason_ = why;
  }
  if (before == shortage) return;
  if (shortage == Shortage::kNone) {
    base::Log(base::LogLevel::kInfo, "the disk has space again: all writes are taken");
  } else {
    base::Log(base::LogLevel::kError,
              shortage == Shortage::kLow ? "the disk is nearly full: registrations are refused"
                                         : "the disk is full: no writes are taken",
              {{"reason", why}});
  }
}

void Strand::Settle(std::vector<Waiting> group, std::vector<UnitResult> results) {
  std::vector<std::shared_ptr<OpenBatch>> complete;
  for (size_t i = 0; i < group.size(); ++i) {
    OpenBatch& batch = *group[i].of;
    batch.results[group[i].index] = std::move(results[i]);
    if (--batch.waiting == 0) complete.push_back(std::move(group[i].of));
  }
  if (complete.empty()) return;
  MutexLock lock(mu_);
  PostCompletion([complete = std::move(complete)] {
    for (const auto& batch : complete) batch->done(std::move(batch->results));
  });
}

void Strand::Close() {
  MutexLock close_lock(close_mu_);
  {
    MutexLock lock(mu_);
    if (state_ != State::kOpen) {
      state_ = State::kClosed;
      return;
    }
    state_ = State::kClosing;
    wake_.NotifyAll();
  }
  if (mode_ == Mode::kManual) {
    RunPending();
  } else {
    thread_->Join();
  }
  {
    // Nobody posts from here on: a later Propose runs its done in the call.
    MutexLock lock(mu_);
    state_ = State::kClosed;
  }
  if (mode_ == Mode::kManual) {
    while (RunCompletion()) {
    }
  } else {
    done_thread_->Stop();
  }
}

Revision Strand::revision() const { return {epoch_, seq_.load(std::memory_order_acquire)}; }

EngineStats Strand::Stats(std::string name) const {
  MutexLock lock(mu_);
  return {.name = std::move(name),
          .queue_used = queue_.size(),
          .queue_max = limits_.queue_max,
          .commits = commits_,
          .groups = groups_,
          .frozen = frozen_,
          .frozen_since = frozen_since_,
          .frozen_reason = frozen_reason_,
          .low_space = shortage_ != Shortage::kNone,
          .low_space_since = short_since_,
          .low_space_reason = short_reason_};
}

}  // namespace muster::storage

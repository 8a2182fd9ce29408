// The strand: takes proposed units from a bounded queue, group by group, judges them, has a
// GroupStore write them, hands the commits to the sinks and queues the completions. The part of an
// engine that doesn't depend on where the bytes go.
//
// Threads: threaded, "muster-strand" runs the groups and "muster-done" the completions; manual,
// whoever calls RunPending() does both. All members are thread-safe unless said otherwise.
// Ownership: the store, the clock and the sinks outlive the strand.
// Errors: a failed Write freezes the strand for good; see Engine.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/thread.h"
#include "storage/engine.h"

namespace muster::storage {

struct EngineLimits {
  size_t queue_max = 16384;               // waiting units; see WriteClass::kUser
  size_t queue_max_bytes = 64 << 20;      // their keys and values
  int reserved_percent = 10;              // of both, for WriteClass::kInternal
  size_t max_unit_ops = 512;              //
  size_t max_unit_bytes = 3 * (1 << 19);  // 1.5 MiB
  size_t group_max_units = 1024;
  size_t group_max_bytes = 4 << 20;
};

// Where a strand reads and writes. Called from the strand only.
class GroupStore {
 public:
  virtual ~GroupStore() = default;
  // nullopt when absent.
  virtual absl::StatusOr<std::optional<std::string>> Read(Family family,
                                                          std::string_view key) const = 0;
  // All or nothing, durable on OK. An error with the reason STORAGE_FULL: nothing was written; any
  // other: it may be durable or not. `commits` isn't empty.
  virtual absl::Status Write(absl::Span<const Commit> commits) = 0;
};

class Strand {
 public:
  enum class Mode : uint8_t { kThreaded, kManual };

  Strand(const EngineLimits& limits, Mode mode, GroupStore& store, const base::Clock& clock);
  ~Strand();
  Strand(const Strand&) = delete;
  Strand& operator=(const Strand&) = delete;

  // Takes no more writes until restarted, since `cause`: "a write failed". From any thread; after
  // the first time nothing happens.
  void Freeze(const std::string& cause, const std::string& reason);

  // After replay. Once. The next commit's seq is `least_seq` or above.
  void Start(const Revision& revision, std::vector<CommitSink*> sinks, uint64_t least_seq = 0);
  // See Engine::Propose. Outside Start..Close `done` runs in the call.
  void Propose(Batch batch, WriteClass write_class, Done done);
  // Manual mode: runs groups and completions until nothing waits, what they propose included.
  // Returns how many units it settled. One thread at a time; not from a sink or a completion.
  size_t RunPending();
  // See Engine::Close. Not from a sink or a completion.
  void Close();

  // How little space the disk has.
  enum class Shortage : uint8_t {
    kNone,
    kLow,   // WriteClass::kUser is refused
    kFull,  // everything is refused
  };
  // From now on; what was admitted before is written. `why` names the limit.
  void SetShortage(Shortage shortage, const std::string& why);

  // The latest revision that the sinks have.
  Revision revision() const;
  const EngineLimits& limits() const { return limits_; }
  EngineStats Stats(std::string name) const;

 private:
  // A batch until its last unit is settled; then its done runs.
  struct OpenBatch {
    Batch batch;
    Done done;
    std::vector<UnitResult> results;
    size_t waiting = 0;
  };
  struct Waiting {
    std::shared_ptr<OpenBatch> of;
    size_t index = 0;  // of the unit in the batch
    size_t bytes = 0;

    Unit& unit() const { return of->batch.units[index]; }
  };
  enum class State : uint8_t { kNew, kOpen, kClosing, kClosed };

  absl::Status CheckUnits(const Batch& batch) const;
  // So many units and bytes; `valid`: what CheckUnits says of them.
  absl::Status Admit(const absl::Status& valid, size_t count, size_t bytes,
                     WriteClass write_class) const MUSTER_REQUIRES(mu_);
  absl::Status CheckRoom(size_t count, size_t bytes, WriteClass write_class) const
      MUSTER_REQUIRES(mu_);
  void Enqueue(std::shared_ptr<OpenBatch> batch, size_t bytes) MUSTER_REQUIRES(mu_);
  void PostCompletion(std::function<void()> completion) MUSTER_REQUIRES(mu_);
  void Loop();
  bool RunCompletion();
  std::vector<Waiting> TakeGroup() MUSTER_REQUIRES(mu_);
  void RunGroup(std::vector<Waiting> group);
  std::vector<UnitResult> JudgeAndWrite(absl::Span<Unit* const> units);
  std::optional<uint64_t> AppliedModSeq(Family family, std::string_view key) const;
  absl::Status FrozenStatus() const MUSTER_REQUIRES(mu_);
  absl::Status CheckSpace(WriteClass write_class) const MUSTER_REQUIRES(mu_);
  void Settle(std::vector<Waiting> group, std::vector<UnitResult> results);

  // Constant after construction.
  const EngineLimits limits_;
  const Mode mode_;
  GroupStore& store_;
  const base::Clock& clock_;

  // Constant after Start.
  uint64_t epoch_ = 0;
  std::vector<CommitSink*> sinks_;
  std::unique_ptr<base::NamedThread> thread_;
  std::unique_ptr<base::SerialExecutor> done_thread_;

  uint64_t least_seq_ = 0;        // set by Start
  std::atomic<uint64_t> seq_{0};  // written by the strand

  base::Mutex close_mu_;  // before mu_
  mutable base::Mutex mu_;
  base::CondVar wake_;
  State state_ MUSTER_GUARDED_BY(mu_) = State::kNew;
  std::deque<Waiting> queue_ MUSTER_GUARDED_BY(mu_);
  size_t queue_bytes_ MUSTER_GUARDED_BY(mu_) = 0;
  std::deque<std::function<void()>> manual_completions_ MUSTER_GUARDED_BY(mu_);
  uint64_t commits_ MUSTER_GUARDED_BY(mu_) = 0;
  uint64_t groups_ MUSTER_GUARDED_BY(mu_) = 0;
  bool frozen_ MUSTER_GUARDED_BY(mu_) = false;
  base::SystemTime frozen_since_ MUSTER_GUARDED_BY(mu_){};
  std::string frozen_cause_ MUSTER_GUARDED_BY(mu_);
  std::string frozen_reason_ MUSTER_GUARDED_BY(mu_);
  Shortage shortage_ MUSTER_GUARDED_BY(mu_) = Shortage::kNone;
  base::SystemTime short_since_ MUSTER_GUARDED_BY(mu_){};
  std::string short_reason_ MUSTER_GUARDED_BY(mu_);
};

}  // namespace muster::storage

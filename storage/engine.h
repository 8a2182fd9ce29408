// The storage engine contract: the one place where state becomes durable.
//
//   Batch batch{{Unit{.preconditions = {ModSeqIs(Family::kInstances, key, 7)},
//                     .ops = {Put(Family::kInstances, key, value)}}}};
//   engine->Propose(std::move(batch), WriteClass::kUser, [](std::vector<UnitResult> results)
//   {...});
//
// An engine makes units durable in the order in which they were proposed, gives each unit that
// holds an op the next seq, and delivers commits in that order to its sinks, on one thread: the
// strand. Then `done` runs on the engine's completion thread, never on the strand: who was told
// "committed" reads what it wrote.
//
// Thread safety: all members may be called from any thread unless said otherwise.
// Errors: absl::Status with a base::Reason. Nothing throws.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "storage/schema.h"

namespace muster::storage {

// A point in the history of one store; see muster.v1.Revision.
struct Revision {
  uint64_t epoch = 0;
  uint64_t seq = 0;
  friend bool operator==(const Revision&, const Revision&) = default;
};

// One key's new value or its removal. `value` begins with a header (schema.h) whose modify seq is
// zero: the engine writes the commit's seq there.
struct Op {
  enum class Kind : uint8_t { kPut, kDelete };
  Kind kind = Kind::kPut;
  Family family = Family::kMeta;
  std::string key;
  std::string value;
};

Op Put(Family family, std::string key, std::string value);
Op Delete(Family family, std::string key);

// What has to be true of one key just before a unit, earlier units of the same group included.
struct Precondition {
  Family family = Family::kInstances;
  std::string key;
  // The value's modify seq; 0 = the key is absent; kAnySeq = the key is present.
  uint64_t mod_seq = 0;
};
inline constexpr uint64_t kAnySeq = ~uint64_t{0};

Precondition Absent(Family family, std::string key);
Precondition Present(Family family, std::string key);
Precondition ModSeqIs(Family family, std::string key, uint64_t mod_seq);

// The atomic unit: all of its ops or none. A unit without ops is a barrier: its preconditions are
// judged in order with the writes around it and nothing is written.
struct Unit {
  // As many as a registration has are held without the heap.
  absl::InlinedVector<Precondition, 2> preconditions;
  absl::InlinedVector<Op, 1> ops;
};

struct Batch {
  std::vector<Unit> units;
};

enum class WriteClass : uint8_t {
  kUser,      // refused with QUEUE_FULL when the queue is full; never when nothing waits in it
  kInternal,  // expiry, health, deregistration: may use the reserved part of the queue
};

// What became of one unit.
struct UnitResult {
  enum class Verdict : uint8_t {
    kCommitted,     // durable and applied; `seq` is the unit's (for a barrier: the latest)
    kRejected,      // a precondition failed: `current` is that key's value, empty when absent
    kNotCommitted,  // nothing was written; `status` says why
    kUnknown,       // may or may not be durable (a failed sync); the engine is read-only now
  };
  Verdict verdict = Verdict::kNotCommitted;
  uint64_t seq = 0;
  std::string current;
  absl::Status status;
};

using Done = std::function<void(std::vector<UnitResult>)>;

// One unit as committed. Values carry their modify seq. Valid during the call only.
struct Commit {
  uint64_t seq = 0;
  absl::Span<const Op> ops;
};

// Follows the history of a store. All calls come from the strand, or, before Open returns, from
// the thread that opens.
class CommitSink {
 public:
  virtual ~CommitSink() = default;
  // Once, before anything else: the store's identity and the seq that replay leads to.
  virtual void OnOpen(const Revision& revision, const StoreRecordView& store) = 0;
  // Every live record, family by family in the order of the enum, keys ascending.
  virtual void OnReplay(Family family, std::string_view key, std::string_view value) = 0;
  // Replay is over; commits follow.
  virtual void OnReplayed() = 0;
  // A group of commits in order, seqs ascending.
  virtual void OnCommits(absl::Span<const Commit> commits) = 0;
  // The key's modify seq after the last commit, 0 when it is absent; nullopt when this sink doesn't
  // keep it. Spares reading the store for a precondition.
  virtual std::optional<uint64_t> AppliedModSeq(Family, std::string_view) const {
    return std::nullopt;
  }
};

// A consistent picture of the store.
class Snapshot {
 public:
  virtual ~Snapshot() = default;
  virtual Revision revision() const = 0;
  // Calls `visit` for each key of the family that begins with `prefix`, ascending, until it
  // returns false. DATA_LOSS when the store can't be read.
  virtual absl::Status Scan(
      Family family, std::string_view prefix,
      const std::function<bool(std::string_view key, std::string_view value)>& visit) const = 0;
};

struct EngineStats {
  std::string name;  // rocksdb, memory
  uint64_t queue_used = 0;
  uint64_t queue_max = 0;
  uint64_t commits = 0;  // units written since Open
  uint64_t groups = 0;   // syncs since Open
  bool frozen = false;
  base::SystemTime frozen_since{};
  std::string frozen_reason;
  // The disk is nearly full: users' writes are refused, until it isn't any more.
  bool low_space = false;
  base::SystemTime low_space_since{};
  std::string low_space_reason;
};

class Engine {
 public:
  virtual ~Engine() = default;

  // Opens or creates the store, replays it to the sinks (which must outlive the engine), then
  // starts the strand. Once.
  // Errors: FAILED_PRECONDITION for a newer format, DATA_LOSS for a damaged store, UNAVAILABLE when
  // the directory can't be used.
  virtual absl::Status Open(std::vector<CommitSink*> sinks) = 0;

  // Never blocks. A refused batch gets `done` as well, with kNotCommitted for each unit:
  // RESOURCE_EXHAUSTED (QUEUE_FULL), UNAVAILABLE (STORAGE_READ_ONLY; STORAGE_FULL when the disk is
  // nearly full, WriteClass::kUser first), CANCELLED after Close,
  // INVALID_ARGUMENT for a unit over max_unit_ops() or max_unit_bytes().
  virtual void Propose(Batch batch, WriteClass write_class, Done done) = 0;

  // Latest committed value; NOT_FOUND when absent.
  virtual absl::StatusOr<std::string> Get(Family family, std::string_view key) const = 0;
  virtual absl::StatusOr<std::unique_ptr<Snapshot>> GetSnapshot() const = 0;

  virtual Revision revision() const = 0;
  virtual size_t max_unit_ops() const = 0;
  virtual size_t max_unit_bytes() const = 0;
  virtual EngineStats Stats() const = 0;

  // Looks after what the engine stands on: refuses writes while the disk is nearly full, takes them
  // again when it isn't. Every 100 ms or so, by one thread; between Open and Close.
  virtual void Tend() {}

  // Finishes what is queued, runs the remaining completions, stops the threads. Idempotent.
  virtual void Close() = 0;
};

}  // namespace muster::storage

// What the engine tests share: a sink that records and checks its calls, outcomes to wait for, and
// a harness that drives any engine, threaded or pumped, in the same way.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/fake_clock.h"
#include "base/mutex.h"
#include "base/rng.h"
#include "storage/engine.h"
#include "storage/strand.h"

namespace muster::storage::testing {

using Tables = std::array<std::map<std::string, std::string>, kFamilyCount>;
using Verdict = UnitResult::Verdict;

// Everything in the snapshot. Without transitions: what replay promises.
Tables TablesOf(const Snapshot& snapshot, bool transitions = true);
Tables WithoutTransitions(Tables tables);
void Apply(const Op& op, Tables& tables);

std::string Value(std::string_view payload);
std::string PayloadOf(std::string_view value);

// Follows a store; fails the test when the engine breaks the order of calls.
class RecordingSink : public CommitSink {
 public:
  struct LoggedCommit {
    uint64_t seq = 0;
    std::vector<Op> ops;
  };

  void OnOpen(const Revision& revision, const StoreRecordView& store) override;
  void OnReplay(Family family, std::string_view key, std::string_view value) override;
  void OnReplayed() override;
  void OnCommits(absl::Span<const Commit> commits) override;

  // Runs in each OnCommits, before it records. Set before Open.
  std::function<void()> on_commits;

  Revision opened() const;
  StoreRecordView record() const;
  bool replayed() const;
  Tables tables() const;
  std::vector<LoggedCommit> log() const;
  uint64_t last_seq() const;
  std::vector<size_t> group_sizes() const;

 private:
  mutable base::Mutex mu_;
  Revision opened_ MUSTER_GUARDED_BY(mu_);
  StoreRecordView record_ MUSTER_GUARDED_BY(mu_);
  bool replayed_ MUSTER_GUARDED_BY(mu_) = false;
  int last_family_ MUSTER_GUARDED_BY(mu_) = 0;
  std::string last_key_ MUSTER_GUARDED_BY(mu_);
  bool first_key_ MUSTER_GUARDED_BY(mu_) = true;
  Tables tables_ MUSTER_GUARDED_BY(mu_);
  std::vector<LoggedCommit> log_ MUSTER_GUARDED_BY(mu_);
  uint64_t last_seq_ MUSTER_GUARDED_BY(mu_) = 0;
  std::vector<size_t> group_sizes_ MUSTER_GUARDED_BY(mu_);
};

// What `done` brought.
class Outcome {
 public:
  void Set(std::vector<UnitResult> results);
  bool ready() const;
  // Fails the test and returns nothing when it takes over 30 s.
  std::vector<UnitResult> Wait();

 private:
  mutable base::Mutex mu_;
  base::CondVar changed_;
  bool ready_ MUSTER_GUARDED_BY(mu_) = false;
  std::vector<UnitResult> results_ MUSTER_GUARDED_BY(mu_);
};
using OutcomePtr = std::shared_ptr<Outcome>;

// A gate that a sink can be stopped at.
class Gate {
 public:
  void Shut();
  void Open();
  // For the sink: waits while shut.
  void Pass();
  // Until somebody waits in Pass.
  void AwaitWaiter();

 private:
  base::Mutex mu_;
  base::CondVar changed_;
  bool shut_ MUSTER_GUARDED_BY(mu_) = false;
  int waiters_ MUSTER_GUARDED_BY(mu_) = 0;
};

// One store and the engine that has it open.
class EngineHarness {
 public:
  virtual ~EngineHarness() = default;

  // A new engine object on the store, not open.
  virtual std::unique_ptr<Engine> NewEngine() = 0;
  // Pumped engines: works off what waits.
  virtual void Pump() {}
  virtual bool threaded() const { return true; }

  // Opens a new engine on the store with a new sink; closes what was open.
  absl::Status Open();
  // As Open, without Close: the old engine is destroyed.
  absl::Status OpenWithoutClose();
  void Close();

  Engine& engine() { return *engine_; }
  RecordingSink& sink() { return *sink_; }
  base::FakeClock& clock() { return clock_; }

  OutcomePtr Propose(std::vector<Unit> units, WriteClass write_class = WriteClass::kUser);
  std::vector<UnitResult> Wait(const OutcomePtr& outcome);
  // Propose and Wait of one unit.
  UnitResult Run(Unit unit);

  // Until Unblock: what is proposed waits and shares a group.
  void Block();
  void Unblock();

 protected:
  base::FakeClock clock_;
  base::SeededRng rng_{7};
  EngineLimits limits_;
  std::unique_ptr<RecordingSink> sink_;
  std::unique_ptr<Engine> engine_;

 private:
  Gate gate_;
  bool blocked_ = false;
};

struct HarnessKind {
  std::string name;
  std::function<std::unique_ptr<EngineHarness>(const EngineLimits&)> make;
};
HarnessKind ThreadedMemory();
HarnessKind PumpedMemory();

// A directory of the test's own, removed at the end.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace muster::storage::testing

// CheckScheduler: all checks that this server follows, each a CheckSession, and when each of them
// has something to do.
//
//   CheckScheduler scheduler(…, {.nudge = [] { post(Poll); }});
//   scheduler.Set(instance, checks, results, fresh);
//   loop: WaitUntil(scheduler.Poll());
//
// Thread safety: none: the health loop's thread. Ownership: store, factory, clock and rng outlive
// it. Cost: a wake is a heap operation; of checks that have nothing to do nothing is looked at.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/clock.h"
#include "base/rng.h"
#include "server/health/check_session.h"
#include "server/health/probe_slots.h"

namespace muster::health {

// Where what checks find out becomes state. `done` comes later than the call returns, on the
// health loop's thread.
class CheckStore {
 public:
  virtual ~CheckStore() = default;
  virtual void SetOutcome(core::CheckOutcome outcome, std::function<void(absl::Status)> done) = 0;
  virtual void Deregister(const std::string& instance_key, uint64_t incarnation) = 0;
};

// As of ProberFactory::Make.
using MakeProber = std::function<absl::StatusOr<std::unique_ptr<Prober>>(
    const v1::Check& check, const std::string& address, uint32_t port)>;

struct SchedulerOptions {
  size_t max_probes = 1000;  // 0 = nothing is probed
  // Called when there is something to do before the time that the last Poll named, within any
  // call but Poll, or when a probe's result comes: Poll is to be called soon, not within it.
  std::function<void()> nudge = [] {};
  // Targets of a zone that are unreachable at once, as a share, above which rather this server is
  // cut off; judged from so many on.
  double cut_off_share = 0.3;
  size_t cut_off_least = 5;
};

struct SchedulerCounts {
  uint64_t checks = 0;
  uint64_t probes = 0;   // under way
  uint64_t waiting = 0;  // for a place
  uint64_t wakes = 0;    // kept, of the past ones too
};

class CheckScheduler : public SessionHost {
 public:
  CheckScheduler(const base::Clock& clock, base::Rng& rng, CheckStore& store,
                 MakeProber make_prober, SchedulerOptions options);
  ~CheckScheduler() override;

  struct Definition {
    v1::Check check;
    storage::v1::CheckRecord result;  // what the store has of it
    bool has_result = false;          // it has something
  };
  // An instance as it is now. A check that is as it was goes on. `fresh`: it was not there before.
  void Set(const Followed& instance, std::vector<Definition> checks, bool fresh);
  void Remove(std::string_view instance_key);
  // `check_id` "" = the only one.
  void Reported(std::string_view instance_key, std::string_view check_id);

  // Does what is due. When to call again at the latest, if nothing nudges.
  base::SteadyTime Poll();

  SchedulerCounts counts() const;

  // Of SessionHost.
  base::SteadyTime Now() const override { return clock_.Steady(); }
  base::SteadyTime ActiveNow() const override { return clock_.Steady() - gaps_; }
  base::SteadyTime last_gap() const override { return last_gap_; }
  base::Rng& rng() override { return rng_; }
  void NoticeGap() override;
  void WakeAt(uint64_t session, base::SteadyTime at) override;
  void AskSlot(uint64_t session, const std::string& host, ProbeSlots::Lane lane) override;
  void LeaveSlot(uint64_t session) override;
  void Propose(uint64_t session, core::CheckOutcome outcome) override;
  void CountUnreachable(const std::string& zone, int change) override;
  bool MayBeCutOff(const std::string& zone) const override;
  void TellHeld(const std::string& zone) override;
  void Deregister(const std::string& instance_key, uint64_t incarnation,
                  const std::string& why) override;

 private:
  struct Wake {
    base::SteadyTime at;
    uint64_t session;
    friend bool operator>(const Wake& a, const Wake& b) { return a.at > b.at; }
  };
  struct Zone {
    int64_t checks = 0;
    int64_t unreachable = 0;
    base::SteadyTime told_held{};
  };
  struct Entry {
    std::unique_ptr<CheckSession> session;
    std::string zone;
    base::SteadyTime wake_at{};  // 0 us: not at all
  };
  using Sessions = std::vector<uint64_t>;

  Entry* Find(uint64_t session);
  void Drop(uint64_t session);
  uint64_t Add(const Followed& instance, const Definition& definition, bool fresh);
  void RunWaiting();
  void ForgetOldWakes();

  const base::Clock& clock_;
  base::Rng& rng_;
  CheckStore& store_;
  const MakeProber make_prober_;
  const SchedulerOptions options_;
  ProbeSlots slots_;
  absl::flat_hash_map<uint64_t, Entry> entries_;
  absl::flat_hash_map<std::string, Sessions> instances_;
  absl::flat_hash_map<std::string, Zone> zones_;
  std::priority_queue<Wake, std::vector<Wake>, std::greater<>> wakes_;
  uint64_t last_id_ = 0;
  bool polling_ = false;
  base::SteadyTime next_poll_{};
  base::SteadyTime last_poll_;
  base::SteadyTime last_gap_{};
  absl::Duration gaps_ = absl::ZeroDuration();
  // Calls of its own end when it does.
  std::shared_ptr<CheckScheduler*> self_;
};

}  // namespace muster::health

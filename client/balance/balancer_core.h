// What a Balancer is: the present view, and what each thread keeps of it.
//
// A thread that chooses compares one number with that of the view that it holds, and takes the new
// view when it differs: as long as nothing changes, threads share no cache line that anybody
// writes. What a thread holds has a reference count of its own, for the same reason.
//
// Thread safety: all members, but Update and Fail: by one thread at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "client/balance/view.h"
#include "client/scheduler.h"
#include "muster/client/balancer.h"
#include "muster/client/resolution.h"

namespace muster::client {

class BalancerCore : public std::enable_shared_from_this<BalancerCore> {
 public:
  // How endpoints that fail are left out, where a caller reports how calls ended.
  struct Breaking {
    BreakerOptions breaker;
    double most = 0;  // share that may be left out; but one always may, if there is another
  };

  // REQUIRES: clock and scheduler outlive it. `scheduler`: where views are made.
  BalancerCore(BalanceOptions options, Breaking breaking, uint64_t seed, const base::Clock& clock,
               Scheduler& scheduler);
  ~BalancerCore();

  Pick Next();
  Pick Next(std::string_view key);
  // As Next, but none of `tried` as long as there is another. `but_zone`: in another zone than
  // that, if there is one; may be null.
  Pick NextBut(const EndpointList& tried, const std::string* but_zone);
  // One that has come, or changed, since there were so many arrivals. Otherwise as Next.
  Pick NextArrived(uint64_t after);
  absl::Status status() const;

  // How a call to it ended. True: its breaker is in another state now, which `state` gets. Before
  // Done. REQUIRES: of this balancer. When as many fail in a row in the preferred zone as open the
  // breaker of an endpoint, the zone is left out for as long as that would be.
  bool Report(const Pick& pick, bool ok, BreakerState* state);
  // How it ended isn't known, or says nothing of the endpoint.
  void GiveBack(const Pick& pick);
  size_t left_out() const;
  // It is left out, and this call finds out whether it is well again.
  static bool IsProbe(const Pick& pick);
  static const EndpointPtr& EndpointOf(const Pick& pick) { return *pick.own_; }
  // For a pick that is kept for long: it keeps nothing alive but its endpoint from now on.
  static void Lighten(Pick* pick);
  // How many endpoints have come, or changed, since the first ones.
  uint64_t arrivals() const { return arrivals_; }

  // What the service's endpoints are from now on. `service`: for messages.
  void Update(const Resolution& resolution, const std::string& service);
  void Fail(absl::Status why);

  // A thread's.
  struct Slot;

 private:
  void Remake();
  Slot& SlotOfThread();
  void TakeView(Slot& slot) const;
  struct Candidate {
    const EndpointPtr* endpoint = nullptr;  // null: nobody
    EndpointLoad* load = nullptr;
    int64_t now_us = 0;  // with kLeastLoaded: when it was proposed, on the steady clock
  };
  using Tried = EndpointList;
  // `tried`: may be null.
  Pick Choose(Slot& slot, uint64_t hash, const Tried* tried = nullptr,
              const std::string* but_zone = nullptr);
  // One that is let through; nobody: none is.
  Candidate Find(Slot& slot, uint64_t hash, const Tried* tried);
  // What may be drawn.
  struct Conditions {
    const Tried* tried = nullptr;             // none of these
    const std::string* but_zone = nullptr;    // not in this zone
    std::optional<uint64_t> came_after = {};  // came or changed since
    bool probes = true;                       // also those whose breaker lets one call through
    bool left_out = false;                    // also those whose breaker lets none through
  };
  // By their own weight, of all that the view has, reserve included; nobody: none meets the
  // conditions, or all are left out. O(n).
  Candidate Draw(Slot& slot, const Conditions& conditions) const;
  Pick Take(const Slot& slot, const Candidate& candidate) const;
  void CountOfZone(const Endpoint& endpoint, bool ok, base::SteadyTime now);
  void SuspendZone();
  // `probe`: how many before it weren't taken.
  Candidate Propose(Slot& slot, uint64_t hash, uint32_t probe, const Tried* tried) const;
  bool Admits(const Candidate& candidate, const Tried* tried) const;
  // False: too many are.
  bool TryLeaveOut(EndpointLoad& load, base::SteadyTime now);
  size_t OutNow(base::SteadyTime now) const MUSTER_REQUIRES(mu_);
  void CountLeftOut();
  // `probe`, `tried`: as of Propose.
  const Seat& LessLoaded(Slot& slot, int64_t now_us, uint32_t probe, const Tried* tried) const;

  const Policy policy_;
  const std::string zone_;
  const Breaking breaking_;
  const uint64_t id_;
  const base::Clock& clock_;
  Scheduler& scheduler_;
  // Of whoever updates it.
  Views views_;
  EndpointList endpoints_;
  Resolution::Source source_ = Resolution::Source::kRegistry;
  absl::Status why_empty_ = absl::UnavailableError("nothing is known yet");
  Scheduler::Timer timer_ = 0;

  mutable base::Mutex mu_;
  std::shared_ptr<const View> view_ MUSTER_GUARDED_BY(mu_);
  const std::shared_ptr<bool> exists_ = std::make_shared<bool>(true);
  // Read by every choice; nothing that is written more often may be near it.
  alignas(64) std::atomic<uint64_t> version_{0};
  std::atomic<size_t> left_out_{0};       // of the seats
  std::atomic<uint32_t> zone_failed_{0};  // in a row
  std::atomic<bool> leaves_zone_{false};  // about to
  // Of the zone; the former is 0 when it has never been left.
  std::atomic<int64_t> suspended_until_us_{0};
  std::atomic<int64_t> on_trial_until_us_{0};
  std::atomic<uint64_t> arrivals_{0};
};

}  // namespace muster::client

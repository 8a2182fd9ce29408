// What a Caller is: a balancer, the service's breaker, a budget.
//
// Thread safety: all members.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/rng.h"
#include "client/balance/balancer_core.h"
#include "client/guard/call_counts.h"
#include "client/guard/circuit_breaker.h"
#include "client/guard/retry_budget.h"
#include "muster/client/caller.h"

namespace muster::client {

// Whether a call to an endpoint can begin at once.
enum class Reach : uint8_t { kReady, kConnecting, kFailing };

class CallerCore {
 public:
  struct Parts {
    std::string service;
    std::shared_ptr<BalancerCore> balancer;
    std::shared_ptr<CallCounts> counts;
    const base::Clock& clock;  // outlives it
    // Waits for so long; a test's where time is moved.
    std::function<void(absl::Duration)> pause;
    // Where connections are kept: those that are ready are preferred. Null: nothing is known.
    std::function<Reach(const Endpoint&)> reach = {};
  };
  CallerCore(CallerOptions options, Parts parts);

  // `key`: null = none.
  absl::Status Call(const std::string_view* key, const Caller::Function& function,
                    Idempotent idempotent);

  // For a call that somebody else makes, once: May, Choose, and Ended.
  // OK: it may be made. Otherwise why not, and it is counted as failed.
  absl::Status May();
  // Nobody: there is no endpoint, and the call is counted as failed.
  Pick Choose();
  // `is_stream`: how long it took says nothing of the endpoint.
  void Ended(Pick pick, const absl::Status& status, base::SteadyTime began, bool is_stream);

  BreakerState breaker() const;
  size_t left_out() const { return parts_.balancer->left_out(); }
  absl::Status why_none() const { return parts_.balancer->status(); }
  absl::Duration timeout() const { return options_.timeout; }
  const base::Clock& clock() const { return parts_.clock; }

 private:
  // Of a call so far.
  struct Made {
    EndpointList tried;
    int attempts = 0;
    std::string last;  // endpoint
  };
  absl::Status Try(const std::string_view* key, const Caller::Function& function,
                   Idempotent idempotent, base::SteadyTime began, Made* made);
  absl::Status TryOnce(const std::string_view* key, const Caller::Function& function, Made* made,
                       bool* has_failed);
  // Nullopt: the call may be made.
  std::optional<absl::Status> Refused();
  Pick ChooseFor(const std::string_view* key, const EndpointList& tried);
  bool AttemptEnded(const Pick& pick, const std::string& endpoint, int number,
                    const absl::Status& status, absl::Duration took);
  void CallEnded(const Made& made, const absl::Status& status, base::SteadyTime began);
  void Record(bool ok);
  void Tell(const std::string& endpoint, BreakerState state) const;

  const CallerOptions options_;
  const Parts parts_;
  RetryBudget budget_;
  mutable base::Mutex mu_;
  CircuitBreaker breaker_ MUSTER_GUARDED_BY(mu_);
  uint64_t arrivals_ MUSTER_GUARDED_BY(mu_) = 0;  // of endpoints, when it opened
};

}  // namespace muster::client

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

#include "absl/status/statusor.h"
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
  ~CallerCore();

  // `key`: null = none.
  absl::Status Call(const std::string_view* key, const Caller::Function& function,
                    Idempotent idempotent);

  // For a call that somebody else makes, once: Choose, and then Ended.
  // OK: there is a pick, which may be kept for long. Otherwise why the call can't be made; it is
  // counted as failed.
  absl::StatusOr<Pick> Choose();
  // A stream that has delivered is well, however it ends.
  void Delivers(const Pick& pick);
  // How a call that somebody else makes went.
  struct Ending {
    absl::Status status;
    base::SteadyTime began{};
    bool is_stream = false;     // how long it took says nothing of the endpoint
    bool delivered = false;     // Delivers has been told
    bool says_nothing = false;  // the status isn't the endpoint's
  };
  void Ended(Pick pick, const Ending& ending);
  // One that can't be made, for a reason of whoever calls.
  void NotMade(const absl::Status& status);

  BreakerState breaker() const;
  size_t left_out() const { return parts_.balancer->left_out(); }
  absl::Duration timeout() const { return options_.timeout; }
  const base::Clock& clock() const { return parts_.clock; }

 private:
  // Of a call so far.
  struct Made {
    EndpointList tried;
    int attempts = 0;
    std::string last;                       // endpoint
    std::optional<uint64_t> arrived_after;  // the next attempt is for whoever has come since
  };
  absl::Status Try(const std::string_view* key, const Caller::Function& function,
                   Idempotent idempotent, base::SteadyTime began, Made* made);
  // `left`: of the time for the whole call.
  absl::Status TryOnce(const std::string_view* key, const Caller::Function& function,
                       absl::Duration left, Made* made);
  // Nullopt: the call may be made. `arrived_after`: set when that is so because of endpoints that
  // have arrived since.
  std::optional<absl::Status> Refused(std::optional<uint64_t>* arrived_after);
  Pick ChooseFor(const std::string_view* key, const Made& made);
  // The one that is ready, of those that are proposed after `pick`.
  Pick Ready(Pick pick, const Made& made);
  // What an end says of the endpoint.
  enum class Verdict : uint8_t { kWell, kFailed, kNothing };
  static Verdict VerdictOf(const absl::Status& status);
  void Judge(const Pick& pick, const std::string& endpoint, Verdict verdict);
  void Tell(const Pick& pick, const std::string& endpoint, int number, const absl::Status& status,
            absl::Duration took, bool has_failed);
  void CallEnded(const Made& made, const absl::Status& status, bool has_failed,
                 base::SteadyTime began);
  void Record(bool ok);
  void GiveBack();
  void Tell(const std::string& endpoint, BreakerState state) const;

  const CallerOptions options_;
  const Parts parts_;
  RetryBudget budget_;
  mutable base::Mutex mu_;
  CircuitBreaker breaker_ MUSTER_GUARDED_BY(mu_);
  uint64_t arrivals_ MUSTER_GUARDED_BY(mu_) = 0;  // of endpoints, at the last call
  // While the breaker is open, for those that have come since so many arrivals.
  struct Eager {
    uint64_t after = 0;
    base::SteadyTime next{};
    base::SteadyTime until{};
  };
  Eager eager_ MUSTER_GUARDED_BY(mu_);
};

}  // namespace muster::client

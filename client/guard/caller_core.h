// What a Caller is: a balancer, the service's breaker, a budget.
//
// Thread safety: all members.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/rng.h"
#include "client/balance/balancer_core.h"
#include "client/guard/circuit_breaker.h"
#include "client/guard/retry_budget.h"
#include "muster/client/caller.h"

namespace muster::client {

class CallerCore {
 public:
  // `pause`: waits for so long; a test's where time is moved. REQUIRES: the clock outlives it.
  CallerCore(CallerOptions options, std::string service, std::shared_ptr<BalancerCore> balancer,
             const base::Clock& clock, std::function<void(absl::Duration)> pause);

  // `key`: null = none.
  absl::Status Call(const std::string_view* key, const Caller::Function& function,
                    Idempotent idempotent);
  BreakerState breaker() const;
  size_t left_out() const { return balancer_->left_out(); }

 private:
  // Nullopt: the call may be made.
  std::optional<absl::Status> Refused();
  absl::Status TryOnce(const std::string_view* key, const Caller::Function& function, int number,
                       std::vector<const Endpoint*>* tried, bool* has_failed);
  void Record(bool ok);
  void Tell(const std::string& endpoint, BreakerState state) const;

  const CallerOptions options_;
  const std::string service_;
  const std::shared_ptr<BalancerCore> balancer_;
  const base::Clock& clock_;
  const std::function<void(absl::Duration)> pause_;
  RetryBudget budget_;
  mutable base::Mutex mu_;
  CircuitBreaker breaker_ MUSTER_GUARDED_BY(mu_);
};

}  // namespace muster::client

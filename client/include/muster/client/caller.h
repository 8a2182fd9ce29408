// Calls an endpoint of a service, and another one when that fails.
//
//   auto caller = client->CallerOf("users");
//   absl::Status status = caller->Call([&](const Attempt& attempt) {
//     return GetUser(attempt.endpoint.address, attempt.timeout, &user);
//   });
//
// What an application does around calls, done once: time-out, retries at other endpoints with a
// budget, a circuit breaker of the service, and one of each endpoint, by which those that fail are
// left out for a while.
//
// Thread safety: all members. Callbacks run on the thread that calls.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "muster/client/balancer.h"
#include "muster/client/endpoint.h"
#include "muster/client/resolution.h"
#include "muster/client/retry.h"

namespace muster::client {

enum class BreakerState : uint8_t { kClosed, kOpen, kHalfOpen };

// "closed", "open", "half open".
std::string_view ToText(BreakerState state);

// When a breaker opens, and for how long (circuit_breaker in the source).
struct BreakerOptions {
  double error_share = 0.5;  // of the calls of the last `window`, above 0
  uint32_t minimum = 20;     // with fewer calls the share means nothing
  uint32_t in_a_row = 0;     // that failed one after the other open it, too; 0 = they don't
  absl::Duration window = absl::Seconds(10);
  absl::Duration reset = absl::Seconds(30);
  uint32_t probes = 1;  // that have to succeed before it closes
};

struct BreakerChange {
  std::string service;
  std::string endpoint;  // "10.0.0.7:8001"; "" = the service's own breaker
  BreakerState state = BreakerState::kClosed;
};

// An attempt that has ended.
struct AttemptEvent {
  std::string service;
  std::string endpoint;                                       // "10.0.0.7:8001"
  Resolution::Source source = Resolution::Source::kRegistry;  // whoever knows the endpoint
  int number = 1;                                             // of the call's attempts
  absl::Status status;
  absl::Duration took;
};

struct CallerOptions {
  BalanceOptions balance = {};
  // Of one attempt: the function is told, and an attempt that takes longer has failed, whatever it
  // returns.
  absl::Duration timeout = absl::Seconds(3);
  // Of a call with all its attempts and pauses: no attempt begins later, and the last one gets what
  // is left.
  absl::Duration total = absl::InfiniteDuration();
  std::shared_ptr<const RetryPolicy> retry = std::make_shared<LimitedAttempts>(3);
  std::shared_ptr<const BackoffPolicy> backoff =
      std::make_shared<ExponentialBackoff>(absl::Milliseconds(25), absl::Seconds(1));
  // Retries, as a share of the calls. 0: none.
  double retry_budget = 0.2;
  BreakerOptions service_breaker = {};
  BreakerOptions endpoint_breaker = {.minimum = 10, .in_a_row = 5, .reset = absl::Seconds(10)};
  // At most this share of the endpoints is left out, but one may always be. When more fail, it is
  // not theirs, and leaving out more would bring down the rest.
  double most_left_out = 0.5;
  // What is done instead of a call that the service's breaker doesn't let through. The status says
  // why.
  std::function<absl::Status(const absl::Status& why)> fallback = {};
  // Of an endpoint's breaker it isn't told that it is half open.
  std::function<void(const BreakerChange&)> on_breaker = {};
  // Of every attempt, for tracing and an application's own metrics; what Client::metrics() has is
  // counted without it.
  std::function<void(const AttemptEvent&)> on_attempt = {};
  // A line in the log for each call that failed after all its attempts: endpoint, reason, time. Ten
  // a second at most; the next one says how many there were besides.
  bool log_failures = true;
};

struct Attempt {
  const Endpoint& endpoint;
  absl::Duration timeout;
  int number = 1;  // counted from 1
};

// Whether a call may be made twice. Only one that may is tried again.
enum class Idempotent : uint8_t { kNo, kYes };

class CallerCore;

class Caller {
 public:
  explicit Caller(std::shared_ptr<CallerCore> core) : core_(std::move(core)) {}

  using Function = std::function<absl::Status(const Attempt&)>;
  // The status of the last attempt. UNAVAILABLE without one when there is no endpoint, or when the
  // breaker is open (then what `fallback` returns). Failures of an endpoint are UNAVAILABLE,
  // DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL, UNKNOWN and DATA_LOSS; other codes are its
  // answer, which `retry` may ask for again all the same. INVALID_ARGUMENT when there is no
  // function.
  absl::Status Call(const Function& function, Idempotent idempotent = Idempotent::kYes) const;
  // By this key, with Policy::kConsistentHash; a retry goes elsewhere.
  absl::Status Call(std::string_view key, const Function& function,
                    Idempotent idempotent = Idempotent::kYes) const;

  BreakerState breaker() const;
  // How many endpoints are left out now.
  size_t left_out() const;

 private:
  std::shared_ptr<CallerCore> core_;
};

}  // namespace muster::client

// HealthState: what the results of a check come to, run after run.
//
//   HealthState state({.success_before_passing = 2}, v1::CRITICAL, /*decided=*/false);
//   if (state.Add(Outcome::kPassing, clock.Steady()) != before) …
//
// The first result of a check decides alone, whatever the thresholds: until it came nothing is
// known. A warning is a good run that leads to WARNING in place of PASSING.
//
// Flap damping: a check that leaves PASSING sooner than ten intervals after it came there, and does
// so twice or more in a row, needs twice as many good runs each time to be PASSING again, up to
// eight times as many. It is never slower to leave.
//
// Thread safety: none. Pure: time comes in.
#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "base/clock.h"
#include "muster/v1/types.pb.h"

namespace muster::health {

// Of a check: 0 stands for what v1::Check says.
struct Thresholds {
  uint32_t success_before_passing = 1;
  uint32_t failures_before_warning = 0;
  uint32_t failures_before_critical = 1;
  absl::Duration interval = absl::Seconds(10);
};
Thresholds ThresholdsOf(const v1::Check& check);

class HealthState {
 public:
  enum class Outcome : uint8_t { kPassing, kWarning, kFailing };

  // `status` is the present one; `decided`: a result led to it.
  HealthState(const Thresholds& thresholds, v1::Health status, bool decided)
      : thresholds_(thresholds), status_(status), decided_(decided) {}

  // The status after a run's result.
  v1::Health Add(Outcome outcome, base::SteadyTime now);
  // After a result that no further run will confirm: the target itself tells of each change.
  v1::Health Set(Outcome outcome, base::SteadyTime now);
  // Another process may be meant from now on: what it did in a row is forgotten.
  void Restart();

  v1::Health status() const { return status_; }
  // The last run failed.
  bool failing() const { return failures_ > 0; }
  // Good runs in a row that lead to PASSING now.
  uint32_t needed() const;

 private:
  void Become(v1::Health status, base::SteadyTime now);

  const Thresholds thresholds_;
  v1::Health status_;
  bool decided_;
  uint32_t successes_ = 0;  // in a row
  uint32_t failures_ = 0;   // in a row
  uint32_t flaps_ = 0;      // in a row
  base::SteadyTime passing_since_{};
};

}  // namespace muster::health

#include "server/health/health_state.h"

#include <algorithm>

#include "server/core/check_rules.h"

namespace muster::health {
namespace {

constexpr int64_t kSteadyIntervals = 10;
constexpr uint32_t kMostDoublings = 3;
// Counters stop here: no threshold is as high.
constexpr uint32_t kEnough = 1'000'000;

}  // namespace

Thresholds ThresholdsOf(const v1::Check& check) {
  return {.success_before_passing = std::max(check.success_before_passing(), 1U),
          .failures_before_warning = check.failures_before_warning(),
          .failures_before_critical = std::max(check.failures_before_critical(), 1U),
          .interval = core::TimesOf(check).interval};
}

uint32_t HealthState::needed() const {
  const uint32_t doublings = flaps_ < 2 ? 0 : std::min(flaps_ - 1, kMostDoublings);
  return thresholds_.success_before_passing << doublings;
}

void HealthState::Become(v1::Health status, base::SteadyTime now) {
  if (status == status_) return;
  if (status == v1::PASSING) passing_since_ = now;
  if (status_ == v1::PASSING && passing_since_.us != 0) {
    const bool soon = now - passing_since_ < kSteadyIntervals * thresholds_.interval;
    flaps_ = soon ? std::min(flaps_ + 1, kEnough) : 0;
  }
  status_ = status;
}

v1::Health HealthState::Add(Outcome outcome, base::SteadyTime now) {
  if (!decided_) {
    // One run is as good as all that are asked for.
    successes_ = outcome == Outcome::kFailing ? 0 : needed();
    failures_ = outcome == Outcome::kFailing ? thresholds_.failures_before_critical : 0;
    return Set(outcome, now);
  }
  if (outcome == Outcome::kFailing) {
    successes_ = 0;
    failures_ = std::min(failures_ + 1, kEnough);
    if (failures_ >= thresholds_.failures_before_critical) {
      Become(v1::CRITICAL, now);
    } else if (thresholds_.failures_before_warning > 0 && status_ == v1::PASSING &&
               failures_ >= thresholds_.failures_before_warning) {
      Become(v1::WARNING, now);
    }
    return status_;
  }
  failures_ = 0;
  successes_ = std::min(successes_ + 1, kEnough);
  // What is PASSING has had its good runs, whenever that was.
  if (status_ == v1::PASSING || successes_ >= needed()) {
    Become(outcome == Outcome::kPassing ? v1::PASSING : v1::WARNING, now);
  }
  return status_;
}

v1::Health HealthState::Set(Outcome outcome, base::SteadyTime now) {
  decided_ = true;
  if (outcome == Outcome::kFailing) {
    successes_ = 0;
    failures_ = std::max(failures_, 1U);
    Become(v1::CRITICAL, now);
  } else {
    failures_ = 0;
    successes_ = std::max(successes_, 1U);
    Become(outcome == Outcome::kPassing ? v1::PASSING : v1::WARNING, now);
  }
  return status_;
}

void HealthState::Restart() {
  successes_ = 0;
  failures_ = 0;
}

}  // namespace muster::health

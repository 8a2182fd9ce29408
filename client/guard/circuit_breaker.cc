#include "client/guard/circuit_breaker.h"

#include <algorithm>
#include <array>

namespace muster::client {

std::string_view ToText(BreakerState state) {
  constexpr std::array<std::string_view, 3> kTexts = {"closed", "open", "half open"};
  return kTexts[static_cast<size_t>(state)];
}

bool CircuitBreaker::Allow(base::SteadyTime now) {
  if (state_ == State::kClosed) return true;
  if (now >= until_) {
    // The time of being open is over, or that of probes which never ended.
    if (state_ == State::kOpen) succeeded_ = 0;
    state_ = State::kHalfOpen;
    until_ = now + options_.reset;
    probing_ = 0;
  }
  if (state_ == State::kOpen || probing_ + succeeded_ >= options_.probes) return false;
  ++probing_;
  return true;
}

void CircuitBreaker::Record(bool ok, base::SteadyTime now) {
  switch (state_) {
    case State::kOpen:
      return;  // of a call that was made before
    case State::kHalfOpen:
      if (!ok) return Open(now);
      if (probing_ == 0) return;  // as well
      --probing_;
      if (++succeeded_ >= options_.probes) Close();
      return;
    case State::kClosed:
      Count(ok, now);
      if (!ok && Trips()) Open(now);
      return;
  }
}

void CircuitBreaker::Close() { *this = CircuitBreaker(options_); }

void CircuitBreaker::Open(base::SteadyTime now) {
  state_ = State::kOpen;
  until_ = now + options_.reset;
}

void CircuitBreaker::Count(bool ok, base::SteadyTime now) {
  const int64_t step = std::max<int64_t>(absl::ToInt64Microseconds(options_.window) / kBuckets, 1);
  const int64_t number = now.us / step;
  Bucket& bucket = buckets_[static_cast<size_t>(number % kBuckets)];
  if (bucket.number != number) bucket = {.number = number};
  ++bucket.calls;
  bucket.failed += ok ? 0 : 1;
  in_a_row_ = ok ? 0 : in_a_row_ + 1;
  if (ok) return;
  calls_ = 0;
  failed_ = 0;
  for (const Bucket& one : buckets_) {
    if (one.number <= number - kBuckets) continue;
    calls_ += one.calls;
    failed_ += one.failed;
  }
}

bool CircuitBreaker::Trips() const {
  if (options_.in_a_row > 0 && in_a_row_ >= options_.in_a_row) return true;
  return calls_ >= options_.minimum &&
         static_cast<double>(failed_) >= options_.error_share * static_cast<double>(calls_);
}

}  // namespace muster::client

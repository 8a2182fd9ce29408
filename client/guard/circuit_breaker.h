// A circuit breaker: counts how calls end, and says whether the next one may be made.
//
//   closed:     all may. Opens when of at least `minimum` calls in the last `window` a share of
//               `error_share` has failed, or `in_a_row` one after the other.
//   open:       none may, for `reset`.
//   half open:  `probes` calls may, and no more until they have ended. All well: closed. One fails:
//               open again. A probe that doesn't end within `reset` is given up.
//
// Thread safety: none. Pure: time is passed in. Cost: O(1).
#pragma once

#include <array>
#include <cstdint>

#include "base/clock.h"
#include "muster/client/caller.h"

namespace muster::client {

class CircuitBreaker {
 public:
  using State = BreakerState;

  explicit CircuitBreaker(BreakerOptions options) : options_(options) {}

  // Whether a call may be made now. One that may has to be followed by Record, or by GiveBack.
  bool Allow(base::SteadyTime now);
  void Record(bool ok, base::SteadyTime now);
  // It wasn't made after all, or nobody knows how it ended: another one may take its place.
  void GiveBack() {
    if (state_ == State::kHalfOpen && probing_ > 0) --probing_;
  }
  // Lets the next probe through, if it is open.
  void ProbeNow(base::SteadyTime now) {
    if (state_ == State::kOpen) until_ = now;
  }
  // Back to closed, and everything forgotten.
  void Close();

  State state() const { return state_; }
  // When it lets the next call through; when it isn't closed.
  base::SteadyTime until() const { return until_; }
  // In the window, with which it opened last.
  uint32_t calls() const { return calls_; }
  uint32_t failed() const { return failed_; }

 private:
  struct Bucket {
    int64_t number = -1;  // of the tenths of the window since the beginning of time
    uint32_t calls = 0;
    uint32_t failed = 0;
  };
  static constexpr int kBuckets = 10;

  void Count(bool ok, base::SteadyTime now);
  bool Trips() const;
  void Open(base::SteadyTime now);

  BreakerOptions options_;
  State state_ = State::kClosed;
  std::array<Bucket, kBuckets> buckets_;
  uint32_t calls_ = 0;
  uint32_t failed_ = 0;
  uint32_t in_a_row_ = 0;
  base::SteadyTime until_{};
  uint32_t probing_ = 0;    // that are under way
  uint32_t succeeded_ = 0;  // of the probes
};

}  // namespace muster::client

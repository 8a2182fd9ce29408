// A clock that moves when told. Thread safety: all members.
#pragma once

#include <atomic>

#include "base/clock.h"

namespace muster::base {

class FakeClock : public Clock {
 public:
  // Begins at 1 s of steady time and 2026-01-01 of system time.
  FakeClock() = default;
  SteadyTime Steady() const override { return {1'000'000 + us_.load()}; }
  SystemTime System() const override { return {1'767'225'600'000'000 + us_.load()}; }
  void Advance(absl::Duration d) { us_ += absl::ToInt64Microseconds(d); }

 private:
  std::atomic<int64_t> us_{0};
};

}  // namespace muster::base

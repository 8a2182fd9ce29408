// Exponential backoff with full jitter: the delay before attempt n is uniform in
// [0, min(max, initial * multiplier^n)). Pure.
#pragma once

#include <algorithm>
#include <cmath>

#include "absl/time/time.h"
#include "base/rng.h"

namespace muster::base {

struct Backoff {
  absl::Duration initial = absl::Milliseconds(100);
  absl::Duration max = absl::Seconds(10);
  double multiplier = 2.0;

  // `attempt` counts from 0.
  absl::Duration Delay(int attempt, Rng& rng) const {
    const double factor = std::pow(multiplier, std::min(attempt, 64));
    return std::min(max, initial * factor) * rng.Unit();
  }
};

}  // namespace muster::base

#include "base/backoff.h"

#include <gtest/gtest.h>

namespace muster::base {
namespace {

// The largest draw: what Delay() stays below.
class HighRng : public Rng {
 public:
  uint64_t Next() override { return ~uint64_t{0}; }
};

class ZeroRng : public Rng {
 public:
  uint64_t Next() override { return 0; }
};

TEST(BackoffTest, CeilingGrowsByTheMultiplierUpToTheMaximum) {
  HighRng rng;
  const Backoff backoff{absl::Milliseconds(100), absl::Seconds(1), 2.0};
  const absl::Duration slack = absl::Microseconds(1);
  const int64_t ceilings_ms[] = {100, 200, 400, 800, 1000, 1000};
  for (int attempt = 0; attempt < 6; ++attempt) {
    const absl::Duration ceiling = absl::Milliseconds(ceilings_ms[attempt]);
    EXPECT_LE(backoff.Delay(attempt, rng), ceiling) << attempt;
    EXPECT_GT(backoff.Delay(attempt, rng), ceiling - slack) << attempt;
  }
}

TEST(BackoffTest, JitterIsFull) {
  ZeroRng zero;
  EXPECT_EQ(Backoff{}.Delay(5, zero), absl::ZeroDuration());
  SeededRng rng(7);
  absl::Duration sum;
  for (int i = 0; i < 2000; ++i)
    sum += Backoff{absl::Seconds(1), absl::Seconds(1), 1.0}.Delay(0, rng);
  EXPECT_NEAR(absl::ToDoubleSeconds(sum) / 2000, 0.5, 0.05);
}

TEST(BackoffTest, AnyAttemptStaysInBounds) {
  HighRng rng;
  const Backoff steep{absl::Seconds(1), absl::Seconds(30), 1000.0};
  for (int attempt : {0, 64, 1000, 2'000'000'000}) {
    EXPECT_LE(steep.Delay(attempt, rng), absl::Seconds(30)) << attempt;
    EXPECT_GT(steep.Delay(attempt, rng), absl::Milliseconds(999)) << attempt;
  }
}

}  // namespace
}  // namespace muster::base

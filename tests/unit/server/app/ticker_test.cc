#include "server/app/ticker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/clock.h"
#include "base/mutex.h"

namespace muster::app {
namespace {

TEST(Ticker, AJobThatIsBusyComesAgainSoon) {
  constexpr int kBusyRuns = 50;
  base::Mutex mu;
  base::CondVar changed;
  std::atomic<int> runs{0};
  std::atomic<int> others{0};
  const auto count = [&](std::atomic<int>& of) {
    const base::MutexLock lock(mu);
    ++of;
    changed.NotifyAll();
  };
  Ticker ticker(base::RealClock(),
                {{.period = absl::Milliseconds(20),
                  .run = [&] { count(runs); },
                  .busy = [&] { return runs < kBusyRuns; },
                  .busy_period = absl::Microseconds(1)},
                 {.period = absl::Milliseconds(20), .run = [&] { count(others); }}});
  {
    base::MutexLock lock(mu);
    while (runs < kBusyRuns + 3) changed.Wait(mu);
  }
  ticker.Stop();
  EXPECT_GT(runs, others + kBusyRuns / 2) << "both have the same period";
  EXPECT_GE(others, 3) << "and the other one goes on";
}

// The machine's clock, which stands half a period beyond a multiple when this is made.
class ShiftedClock : public base::Clock {
 public:
  explicit ShiftedClock(int64_t period_us)
      : shift_us_(period_us + period_us / 2 - base::RealClock().Steady().us % period_us) {}
  base::SteadyTime Steady() const override { return {base::RealClock().Steady().us + shift_us_}; }
  base::SystemTime System() const override { return base::RealClock().System(); }

 private:
  const int64_t shift_us_;
};

// Late is what a busy machine may be, but not each time.
TEST(Ticker, JobsAreDueAtMultiplesOfTheirPeriodsWheneverItWasStarted) {
  constexpr int64_t kPeriodUs = 40'000;
  constexpr int kRuns = 10;
  const ShiftedClock clock(kPeriodUs);
  int runs = 0;
  int64_t soonest = kPeriodUs;
  base::Mutex mu;
  base::CondVar changed;
  Ticker ticker(clock, {{absl::Microseconds(kPeriodUs), [&] {
                           const base::MutexLock lock(mu);
                           soonest = std::min(soonest, clock.Steady().us % kPeriodUs);
                           ++runs;
                           changed.NotifyAll();
                         }}});
  {
    base::MutexLock lock(mu);
    while (runs < kRuns) changed.Wait(mu);
  }
  ticker.Stop();
  EXPECT_LT(soonest, kPeriodUs / 4);
}

}  // namespace
}  // namespace muster::app

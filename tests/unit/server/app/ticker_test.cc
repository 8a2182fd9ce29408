#include "server/app/ticker.h"

#include <gtest/gtest.h>

#include <atomic>

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

}  // namespace
}  // namespace muster::app

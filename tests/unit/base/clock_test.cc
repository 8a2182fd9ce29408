#include "base/clock.h"

#include <gtest/gtest.h>

#include <type_traits>

#include "base/fake_clock.h"

namespace muster::base {
namespace {

static_assert(!std::is_convertible_v<SteadyTime, SystemTime>);
static_assert(!std::is_convertible_v<SystemTime, SteadyTime>);

TEST(ClockTest, ArithmeticIsInMicroseconds) {
  const SteadyTime t{5};
  EXPECT_EQ((t + absl::Milliseconds(2)).us, 2005);
  EXPECT_EQ((t - absl::Microseconds(7)).us, -2);
  EXPECT_EQ(SteadyTime{9} - t, absl::Microseconds(4));
  const SystemTime s{5};
  EXPECT_EQ((s + absl::Seconds(1)).us, 1'000'005);
  EXPECT_EQ((s - absl::Seconds(1)).us, -999'995);
  EXPECT_EQ(s - SystemTime{9}, absl::Microseconds(-4));
}

TEST(ClockTest, TimesCompare) {
  EXPECT_LT(SteadyTime{1}, SteadyTime{2});
  EXPECT_EQ(SystemTime{3}, SystemTime{3});
  EXPECT_GT(SystemTime{4}, SystemTime{3});
}

TEST(ClockTest, FakeMovesBothTimesByTheSame) {
  FakeClock clock;
  const SteadyTime steady = clock.Steady();
  const SystemTime system = clock.System();
  EXPECT_EQ(clock.Steady(), steady);
  clock.Advance(absl::Seconds(3));
  EXPECT_EQ(clock.Steady() - steady, absl::Seconds(3));
  EXPECT_EQ(clock.System() - system, absl::Seconds(3));
}

TEST(ClockTest, FakeBeginsIn2026) {
  EXPECT_EQ(
      absl::FormatTime("%F %T", absl::FromUnixMicros(FakeClock().System().us), absl::UTCTimeZone()),
      "2026-01-01 00:00:00");
}

TEST(ClockTest, TheMachineSteadyTimeNeverGoesBack) {
  const Clock& clock = RealClock();
  SteadyTime last = clock.Steady();
  for (int i = 0; i < 1000; ++i) {
    const SteadyTime now = clock.Steady();
    ASSERT_LE(last, now);
    last = now;
  }
}

TEST(ClockTest, TheMachineSystemTimeCountsFrom1970InMicroseconds) {
  const int64_t year_2020_us = 1'577'836'800'000'000;
  const int64_t year_2200_us = 7'258'118'400'000'000;
  EXPECT_GT(RealClock().System().us, year_2020_us);
  EXPECT_LT(RealClock().System().us, year_2200_us);
}

}  // namespace
}  // namespace muster::base

#include "server/core/timer_wheel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "base/rng.h"

namespace muster::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<int> Due(TimerWheel<int>& wheel, int64_t now) {
  std::vector<int> due;
  wheel.Advance(now, due);
  return due;
}

TEST(TimerWheelTest, AnItemFallsDueAtTheFirstTickAtOrAfterItsTime) {
  TimerWheel<int> wheel(0, 100, 16);
  wheel.Insert(200, 1);
  wheel.Insert(201, 2);
  EXPECT_THAT(Due(wheel, 199), IsEmpty());
  EXPECT_THAT(Due(wheel, 200), ElementsAre(1));
  EXPECT_THAT(Due(wheel, 299), IsEmpty());
  EXPECT_THAT(Due(wheel, 300), ElementsAre(2));
  EXPECT_EQ(wheel.size(), 0u);
}

TEST(TimerWheelTest, APastTimeFallsDueAtTheNextTick) {
  TimerWheel<int> wheel(1000, 100, 16);
  wheel.Insert(-5, 1);
  wheel.Insert(1000, 2);
  EXPECT_THAT(Due(wheel, 1099), IsEmpty());
  EXPECT_THAT(Due(wheel, 1100), ElementsAre(1, 2));
}

TEST(TimerWheelTest, ItemsComeInTheOrderOfTheirTicks) {
  TimerWheel<int> wheel(0, 100, 16);
  wheel.Insert(900, 9);
  wheel.Insert(100, 1);
  wheel.Insert(500, 5);
  EXPECT_EQ(wheel.size(), 3u);
  EXPECT_THAT(Due(wheel, 100'000), ElementsAre(1, 5, 9));
}

TEST(TimerWheelTest, WhatIsBeyondTheHorizonComesAtTheHorizon) {
  TimerWheel<int> wheel(0, 100, 8);
  wheel.Insert(1'000'000, 1);
  EXPECT_THAT(Due(wheel, 600), IsEmpty());
  EXPECT_THAT(Due(wheel, 700), ElementsAre(1));
}

TEST(TimerWheelTest, ANowBeforeTheLastOneDoesNothing) {
  TimerWheel<int> wheel(0, 100, 8);
  wheel.Insert(300, 1);
  EXPECT_THAT(Due(wheel, 200), IsEmpty());
  EXPECT_THAT(Due(wheel, 0), IsEmpty());
  EXPECT_THAT(Due(wheel, 300), ElementsAre(1));
}

TEST(TimerWheelTest, HoldsItemsThatCanOnlyBeMoved) {
  TimerWheel<std::unique_ptr<int>> wheel(0, 100, 8);
  wheel.Insert(100, std::make_unique<int>(7));
  std::vector<std::unique_ptr<int>> due;
  wheel.Advance(100, due);
  ASSERT_EQ(due.size(), 1u);
  EXPECT_EQ(*due[0], 7);
}

// Against a map of due times: items come neither early nor over a tick late, each once.
TEST(TimerWheelTest, AgreesWithAModel) {
  constexpr uint64_t kSeed = 20261124;
  SCOPED_TRACE(kSeed);
  base::SeededRng rng(kSeed);
  constexpr int64_t kTick = 100;
  constexpr size_t kSlots = 32;
  TimerWheel<int> wheel(0, kTick, kSlots);
  std::map<int, int64_t> filed;  // item -> the tick that has to hand it out
  int64_t now = 0;
  for (int i = 0; i < 20'000; ++i) {
    if (rng.Uniform(2) == 0) {
      const int64_t due = now + static_cast<int64_t>(rng.Uniform(kTick * kSlots * 2));
      wheel.Insert(due, i);
      const int64_t last = now / kTick + static_cast<int64_t>(kSlots) - 1;
      filed[i] = std::min(std::max((due + kTick - 1) / kTick, now / kTick + 1), last);
    } else {
      now += static_cast<int64_t>(rng.Uniform(100) == 0 ? rng.Uniform(10'000) : rng.Uniform(150));
      for (const int item : Due(wheel, now)) {
        ASSERT_TRUE(filed.contains(item)) << item;
        ASSERT_LE(filed[item], now / kTick) << item;
        filed.erase(item);
      }
      for (const auto& [item, tick] : filed) ASSERT_GT(tick, now / kTick) << item;
    }
    ASSERT_EQ(wheel.size(), filed.size());
  }
}

}  // namespace
}  // namespace muster::core

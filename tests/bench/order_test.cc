#include "tests/bench/order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

namespace muster::bench {
namespace {

// Of each place: after which ones it came, and how often, in four rounds that are repeated.
std::vector<std::map<size_t, int>> Before(size_t contestants) {
  std::vector<std::map<size_t, int>> before(contestants);
  size_t last = OrderOf(3, contestants).back();
  for (int round = 0; round < 4; ++round) {
    for (const size_t place : OrderOf(round, contestants)) {
      ++before[place][last];
      last = place;
    }
  }
  return before;
}

TEST(OrderTest, EachOnceInEachRound) {
  for (size_t contestants = 1; contestants < 8; ++contestants) {
    for (int round = 0; round < 9; ++round) {
      auto order = OrderOf(round, contestants);
      EXPECT_EQ(order, OrderOf(round + 4, contestants));
      std::sort(order.begin(), order.end());
      for (size_t i = 0; i < contestants; ++i) EXPECT_EQ(order[i], i);
    }
  }
}

TEST(OrderTest, NoneComesAfterItself) {
  for (size_t contestants = 3; contestants < 8; ++contestants) {
    const auto before = Before(contestants);
    for (size_t place = 0; place < contestants; ++place) {
      EXPECT_EQ(before[place].count(place), 0u) << contestants << " contestants, " << place;
    }
  }
}

// Of four, the two of a pair come as often after each other, and after either of the other pair.
TEST(OrderTest, APairHasTheSameBeforeIt) {
  const auto before = Before(4);
  for (const size_t first : {0u, 2u}) {
    EXPECT_EQ(before[first].at(first + 1), before[first + 1].at(first));
    for (const size_t other : {2 - first, 3 - first}) {
      EXPECT_EQ(before[first].at(other), before[first + 1].at(other)) << first << " " << other;
    }
  }
}

TEST(OrderTest, OfTwoEachIsFirstInTurn) {
  EXPECT_EQ(OrderOf(0, 2), (std::vector<size_t>{0, 1}));
  EXPECT_EQ(OrderOf(1, 2), (std::vector<size_t>{1, 0}));
  EXPECT_EQ(OrderOf(2, 2), (std::vector<size_t>{0, 1}));
}

}  // namespace
}  // namespace muster::bench

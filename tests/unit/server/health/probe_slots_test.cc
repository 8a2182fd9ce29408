#include "server/health/probe_slots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace muster::health {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<uint64_t> All(ProbeSlots& slots) {
  std::vector<uint64_t> out;
  while (const auto id = slots.Next()) out.push_back(*id);
  return out;
}

using Lane = ProbeSlots::Lane;

TEST(ProbeSlotsTest, NoMoreThanTheMostAreUnderWay) {
  ProbeSlots slots(2);
  for (uint64_t id = 1; id <= 4; ++id) slots.Ask(id, std::to_string(id), Lane::kQuick);
  EXPECT_THAT(All(slots), ElementsAre(1, 2));
  EXPECT_EQ(slots.taken(), 2u);
  EXPECT_EQ(slots.waiting(), 2u);
  slots.Leave(1);
  EXPECT_THAT(All(slots), ElementsAre(3));
}

TEST(ProbeSlotsTest, HostsTakeTurns) {
  ProbeSlots slots(100);
  for (uint64_t id = 1; id <= 3; ++id) slots.Ask(id, "a", Lane::kQuick);
  slots.Ask(11, "b", Lane::kQuick);
  slots.Ask(21, "c", Lane::kQuick);
  EXPECT_THAT(All(slots), ElementsAre(1, 11, 21, 2, 3));
}

TEST(ProbeSlotsTest, OneHostTakesAQuarterAtMost) {
  ProbeSlots slots(8);
  for (uint64_t id = 1; id <= 5; ++id) slots.Ask(id, "hangs", Lane::kQuick);
  slots.Ask(11, "b", Lane::kQuick);
  EXPECT_THAT(All(slots), ElementsAre(1, 11, 2));
  slots.Leave(11);
  EXPECT_THAT(All(slots), IsEmpty());
  slots.Leave(1);
  EXPECT_THAT(All(slots), ElementsAre(3));
}

TEST(ProbeSlotsTest, WhoLeavesTheLineIsSteppedOver) {
  ProbeSlots slots(4);
  slots.Ask(1, "a", Lane::kQuick);
  slots.Ask(2, "a", Lane::kQuick);
  slots.Ask(3, "a", Lane::kQuick);
  slots.Leave(2);
  EXPECT_EQ(slots.waiting(), 2u);
  EXPECT_THAT(All(slots), ElementsAre(1));
  slots.Leave(1);
  EXPECT_THAT(All(slots), ElementsAre(3));
  slots.Leave(3);
  slots.Leave(3);
  EXPECT_EQ(slots.taken(), 0u);
  slots.Ask(2, "a", Lane::kQuick);
  EXPECT_THAT(All(slots), ElementsAre(2));
}

// So many hosts that each has a place.
TEST(ProbeSlotsTest, SlowOnesTogetherTakeHalf) {
  ProbeSlots slots(8);
  for (uint64_t id = 1; id <= 9; ++id) slots.Ask(id, std::to_string(id), Lane::kSlow);
  EXPECT_THAT(All(slots), ElementsAre(1, 2, 3, 4));
  for (uint64_t id = 11; id <= 19; ++id) slots.Ask(id, std::to_string(id), Lane::kQuick);
  EXPECT_THAT(All(slots), ElementsAre(11, 12, 13, 14));
  slots.Leave(11);
  slots.Leave(12);
  EXPECT_THAT(All(slots), ElementsAre(15, 16)) << "places of quick ones stay theirs";
  slots.Leave(1);
  EXPECT_THAT(All(slots), ElementsAre(5));
}

TEST(ProbeSlotsTest, SlowOnesAndNewOnesTogetherTakeThreeQuarters) {
  ProbeSlots slots(8);
  for (uint64_t id = 1; id <= 9; ++id) slots.Ask(id, std::to_string(id), Lane::kNew);
  EXPECT_THAT(All(slots), ElementsAre(1, 2, 3, 4, 5, 6));
  slots.Ask(11, "slow", Lane::kSlow);
  EXPECT_THAT(All(slots), IsEmpty());
  slots.Leave(1);
  slots.Leave(2);
  EXPECT_THAT(All(slots), testing::UnorderedElementsAre(7, 11)) << "lanes take turns";
  slots.Ask(21, "quick", Lane::kQuick);
  EXPECT_THAT(All(slots), ElementsAre(21));
}

TEST(ProbeSlotsTest, AHostsQuarterIsOfAllLanes) {
  ProbeSlots slots(16);
  for (uint64_t id = 1; id <= 3; ++id) slots.Ask(id, "a", Lane::kSlow);
  for (uint64_t id = 11; id <= 13; ++id) slots.Ask(id, "a", Lane::kQuick);
  std::vector<uint64_t> in = All(slots);
  EXPECT_EQ(in.size(), 4u);
  slots.Leave(in[0]);
  EXPECT_EQ(All(slots).size(), 1u);
  slots.Leave(in[1]);
  EXPECT_EQ(All(slots).size(), 1u);
  EXPECT_EQ(slots.waiting(), 0u);
}

TEST(ProbeSlotsTest, OnePlaceIsForAll) {
  ProbeSlots slots(1);
  slots.Ask(1, "a", Lane::kSlow);
  slots.Ask(2, "b", Lane::kNew);
  slots.Ask(3, "c", Lane::kQuick);
  std::vector<uint64_t> in;
  for (int i = 0; i < 3; ++i) {
    const std::vector<uint64_t> next = All(slots);
    ASSERT_EQ(next.size(), 1u);
    in.push_back(next[0]);
    slots.Leave(next[0]);
  }
  EXPECT_THAT(in, testing::UnorderedElementsAre(1, 2, 3));
}

// Any order of asking and leaving keeps the counts, and lets everybody in.
TEST(ProbeSlotsTest, NobodyIsForgotten) {
  ProbeSlots slots(7);
  std::vector<uint64_t> waiting, in;
  uint64_t seed = 1, entered = 0;
  const auto draw = [&seed](uint64_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % n;
  };
  uint64_t id = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (draw(2) == 0) {
      const std::string host = std::to_string(draw(3));
      slots.Ask(++id, host, static_cast<Lane>(draw(3)));
    } else if (!in.empty()) {
      const size_t at = draw(in.size());
      slots.Leave(in[at]);
      in.erase(in.begin() + static_cast<int64_t>(at));
    }
    // One that waits, or is gone.
    if (id > 0 && draw(8) == 0) {
      const uint64_t one = 1 + draw(id);
      const size_t waited = slots.waiting();
      if (std::find(in.begin(), in.end(), one) == in.end()) slots.Leave(one);
      entered += waited - slots.waiting();
    }
    for (const uint64_t one : All(slots)) {
      in.push_back(one);
      ++entered;
    }
    ASSERT_EQ(slots.taken(), in.size());
    ASSERT_LE(in.size(), 7u);
    ASSERT_EQ(slots.waiting() + entered, id);
  }
  while (!in.empty()) {
    slots.Leave(in.back());
    in.pop_back();
    for (const uint64_t one : All(slots)) {
      in.push_back(one);
      ++entered;
    }
  }
  EXPECT_EQ(entered, id);
  EXPECT_EQ(slots.waiting(), 0u);
}

}  // namespace
}  // namespace muster::health

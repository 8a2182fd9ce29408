#include "server/health/probe_slots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(ProbeSlotsTest, NoMoreThanTheMostAreUnderWay) {
  ProbeSlots slots(2);
  for (uint64_t id = 1; id <= 4; ++id) slots.Ask(id, std::to_string(id));
  EXPECT_THAT(All(slots), ElementsAre(1, 2));
  EXPECT_EQ(slots.taken(), 2u);
  EXPECT_EQ(slots.waiting(), 2u);
  slots.Leave(1);
  EXPECT_THAT(All(slots), ElementsAre(3));
}

TEST(ProbeSlotsTest, HostsTakeTurns) {
  ProbeSlots slots(100);
  for (uint64_t id = 1; id <= 3; ++id) slots.Ask(id, "a");
  slots.Ask(11, "b");
  slots.Ask(21, "c");
  EXPECT_THAT(All(slots), ElementsAre(1, 11, 21, 2, 3));
}

TEST(ProbeSlotsTest, OneHostTakesAQuarterAtMost) {
  ProbeSlots slots(8);
  for (uint64_t id = 1; id <= 5; ++id) slots.Ask(id, "hangs");
  slots.Ask(11, "b");
  EXPECT_THAT(All(slots), ElementsAre(1, 11, 2));
  slots.Leave(11);
  EXPECT_THAT(All(slots), IsEmpty());
  slots.Leave(1);
  EXPECT_THAT(All(slots), ElementsAre(3));
}

TEST(ProbeSlotsTest, WhoLeavesTheLineIsSteppedOver) {
  ProbeSlots slots(4);
  slots.Ask(1, "a");
  slots.Ask(2, "a");
  slots.Ask(3, "a");
  slots.Leave(2);
  EXPECT_EQ(slots.waiting(), 2u);
  EXPECT_THAT(All(slots), ElementsAre(1));
  slots.Leave(1);
  EXPECT_THAT(All(slots), ElementsAre(3));
  slots.Leave(3);
  slots.Leave(3);
  EXPECT_EQ(slots.taken(), 0u);
  slots.Ask(2, "a");
  EXPECT_THAT(All(slots), ElementsAre(2));
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
      slots.Ask(++id, std::to_string(draw(3)));
    } else if (!in.empty()) {
      const size_t at = draw(in.size());
      slots.Leave(in[at]);
      in.erase(in.begin() + static_cast<int64_t>(at));
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

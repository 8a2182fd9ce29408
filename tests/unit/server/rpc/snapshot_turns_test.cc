#include "server/rpc/snapshot_turns.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace muster::rpc {
namespace {

using Stream = SnapshotTurns::Stream;

constexpr uint64_t kPart = 100;
constexpr uint64_t kBudget = 10 * kPart * SnapshotTurns::kShares;  // ten parts to a share

class SnapshotTurnsTest : public testing::Test {
 protected:
  Stream& Open(const std::string& connection) {
    streams_.push_back(std::make_unique<Stream>(turns_, connection, nullptr));
    return *streams_.back();
  }
  // So many streams of one connection that each have a part on its way, or wait for it.
  std::vector<Stream*> Fill(const std::string& connection, int count) {
    std::vector<Stream*> out;
    for (int i = 0; i < count; ++i) {
      out.push_back(&Open(connection));
      out.back()->Take(kPart);
    }
    return out;
  }
  void FillAll() {
    for (uint64_t i = 0; i < SnapshotTurns::kShares; ++i) Fill("full-" + std::to_string(i), 10);
    ASSERT_EQ(turns_.bytes(), kBudget);
  }

  SnapshotTurns turns_{kBudget};
  std::vector<std::unique_ptr<Stream>> streams_;
};

TEST_F(SnapshotTurnsTest, AConnectionHasAShare) {
  const auto greedy = Fill("greedy", 200);
  EXPECT_EQ(turns_.bytes(), 10 * kPart);
  EXPECT_TRUE(greedy[10]->waits());
  EXPECT_EQ(turns_.Next(), nullptr) << "it has what it may have";
  EXPECT_TRUE(Open("other").Take(kPart)) << "others are not held up";
}

TEST_F(SnapshotTurnsTest, WhoWaitsIsServedInOrder) {
  FillAll();
  const auto a = Fill("a", 2);
  const auto b = Fill("b", 1);
  EXPECT_EQ(turns_.Next(), nullptr);
  for (int i = 0; i < 4; ++i) streams_[static_cast<size_t>(i)]->Give();
  EXPECT_FALSE(Open("late").Take(kPart)) << "not before those who wait";
  std::vector<Stream*> served;
  while (Stream* next = turns_.Next()) {
    EXPECT_TRUE(next->Take(kPart));
    served.push_back(next);
  }
  EXPECT_EQ(served, (std::vector<Stream*>{a[0], b[0], streams_.back().get(), a[1]}))
      << "one of each connection, then the next";
  EXPECT_EQ(turns_.bytes(), kBudget);
}

TEST_F(SnapshotTurnsTest, WhoNeedsMoreThanExpectedIsStillFirst) {
  FillAll();
  Stream& first = Open("a");
  EXPECT_FALSE(first.Take(kPart));
  EXPECT_FALSE(Open("b").Take(kPart));
  streams_[0]->Give();
  ASSERT_EQ(turns_.Next(), &first);
  EXPECT_FALSE(first.Take(2 * kPart)) << "a new snapshot has begun meanwhile";
  EXPECT_EQ(turns_.Next(), nullptr);
  streams_[1]->Give();
  EXPECT_EQ(turns_.Next(), &first);
  EXPECT_TRUE(first.Take(2 * kPart));
  EXPECT_EQ(turns_.bytes(), kBudget);
}

TEST_F(SnapshotTurnsTest, AStalledStreamGivesItsPartToOthers) {
  FillAll();
  Stream& waiting = Open("a");
  EXPECT_FALSE(waiting.Take(kPart));
  streams_[0]->Stall();
  streams_[0]->Stall();  // each second again
  ASSERT_EQ(turns_.Next(), &waiting);
  EXPECT_TRUE(waiting.Take(kPart));
  EXPECT_EQ(turns_.bytes(), kBudget);
  streams_[0]->Give();
  EXPECT_EQ(turns_.bytes(), kBudget) << "it was given already";
}

TEST_F(SnapshotTurnsTest, WhatOneConnectionStallsIsBounded) {
  const auto streams = Fill("greedy", 200);
  const auto on_their_way = [&] {
    uint64_t count = 0;
    for (const Stream* stream : streams) count += stream->holds();
    return count;
  };
  for (int second = 0; second < 100; ++second) {
    for (Stream* stream : streams) stream->Stall();
    while (Stream* next = turns_.Next()) EXPECT_TRUE(next->Take(kPart));
  }
  EXPECT_EQ(on_their_way(), 20u) << "a share, and as much again that is stalled";
  EXPECT_EQ(turns_.bytes(), 0u) << "nobody else is held up";
  for (Stream* stream : streams) stream->Give();
  while (Stream* next = turns_.Next()) EXPECT_TRUE(next->Take(kPart));
  EXPECT_EQ(turns_.bytes(), 10 * kPart) << "when it reads on, it goes on";
}

TEST_F(SnapshotTurnsTest, APartLargerThanTheBudgetGoesAlone) {
  Stream& large = Open("a");
  EXPECT_TRUE(large.Take(2 * kBudget));
  Stream& next = Open("b");
  EXPECT_FALSE(next.Take(1));
  large.Give();
  ASSERT_EQ(turns_.Next(), &next);
  EXPECT_TRUE(next.Take(1));
}

TEST_F(SnapshotTurnsTest, WhoLeavesHoldsUpNobody) {
  FillAll();
  Open("gone").Take(kPart);
  streams_.pop_back();
  Stream& left = Open("b");
  EXPECT_FALSE(left.Take(kPart));
  left.Leave();
  Stream& waiting = Open("c");
  EXPECT_FALSE(waiting.Take(kPart));
  streams_[0]->Give();
  EXPECT_EQ(turns_.Next(), &waiting);
  streams_.clear();
  EXPECT_EQ(turns_.Next(), nullptr);
  EXPECT_EQ(turns_.bytes(), 0u);
}

}  // namespace
}  // namespace muster::rpc

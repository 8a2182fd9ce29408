#include "storage/group.h"

#include <gtest/gtest.h>

#include <map>

#include "base/errors.h"

namespace muster::storage {
namespace {

using Verdict = UnitResult::Verdict;

constexpr Family kFamily = Family::kInstances;

class GroupTest : public ::testing::Test {
 protected:
  JudgedGroup Judge(std::vector<Unit> units) {
    units_ = std::move(units);
    std::vector<Unit*> group;
    for (Unit& unit : units_) group.push_back(&unit);
    return JudgeGroup(
        group, {.last = 100, .least = least_},
        [this](Family, std::string_view key) -> std::optional<uint64_t> {
          const auto found = applied_.find(std::string(key));
          return found == applied_.end() ? std::nullopt : std::optional(found->second);
        },
        [this](Family, std::string_view key) {
          ++reads_;
          return Read(key);
        });
  }

  absl::StatusOr<std::optional<std::string>> Read(std::string_view key) const {
    if (key == "unreadable") return absl::DataLossError("no");
    const auto found = stored_.find(std::string(key));
    if (found == stored_.end()) return std::nullopt;
    return found->second;
  }

  void Store(const std::string& key, uint64_t seq) {
    stored_[key] = EncodeValue("stored");
    StampModSeq(stored_[key], seq);
  }

  static Op PutOp(const std::string& key) { return Put(kFamily, key, EncodeValue("new")); }

  std::vector<Unit> units_;
  std::map<std::string, std::string> stored_;
  std::map<std::string, uint64_t> applied_;
  uint64_t least_ = 0;
  int reads_ = 0;
};

TEST_F(GroupTest, NumbersUnitsThatWriteAndNoOthers) {
  const JudgedGroup judged =
      Judge({Unit{.ops = {PutOp("a"), PutOp("b")}}, Unit{},
             Unit{.preconditions = {Present(kFamily, "none")}, .ops = {PutOp("c")}},
             Unit{.ops = {Delete(kFamily, "d")}}});
  EXPECT_EQ(judged.last_seq, 102u);
  ASSERT_EQ(judged.commits.size(), 2u);
  EXPECT_EQ(judged.commits[0].seq, 101u);
  EXPECT_EQ(ModSeqOf(judged.commits[0].ops[1].value), 101u);
  EXPECT_EQ(judged.commits[1].seq, 102u);
  EXPECT_EQ(judged.results[0].seq, 101u);
  EXPECT_EQ(judged.results[1].verdict, Verdict::kCommitted);
  EXPECT_EQ(judged.results[1].seq, 101u);
  EXPECT_EQ(judged.results[2].verdict, Verdict::kRejected);
  EXPECT_EQ(judged.results[3].seq, 102u);
}

TEST_F(GroupTest, SeqsAreNotBelowTheLeast) {
  least_ = 500;
  const JudgedGroup judged = Judge({{.ops = {}}, {.ops = {PutOp("a")}}, {.ops = {PutOp("b")}}});
  ASSERT_EQ(judged.commits.size(), 2u);
  EXPECT_EQ(judged.results[0].seq, 100u) << "nothing was written yet";
  EXPECT_EQ(judged.commits[0].seq, 500u);
  EXPECT_EQ(judged.commits[1].seq, 501u);
  least_ = 50;
  EXPECT_EQ(Judge({{.ops = {PutOp("a")}}}).last_seq, 101u);
}

TEST_F(GroupTest, PreconditionsSeeEarlierUnits) {
  Store("a", 7);
  const JudgedGroup judged =
      Judge({Unit{.preconditions = {ModSeqIs(kFamily, "a", 7)}, .ops = {Delete(kFamily, "a")}},
             Unit{.preconditions = {ModSeqIs(kFamily, "a", 7)}, .ops = {PutOp("x")}},
             Unit{.preconditions = {Absent(kFamily, "a")}, .ops = {PutOp("a")}},
             Unit{.preconditions = {Absent(kFamily, "a")}, .ops = {PutOp("a")}},
             Unit{.preconditions = {ModSeqIs(kFamily, "a", 102), Present(kFamily, "a")}}});
  EXPECT_EQ(judged.results[0].verdict, Verdict::kCommitted);
  EXPECT_EQ(judged.results[1].verdict, Verdict::kRejected);
  EXPECT_EQ(judged.results[1].current, "") << "absent";
  EXPECT_EQ(judged.results[2].verdict, Verdict::kCommitted);
  EXPECT_EQ(judged.results[3].verdict, Verdict::kRejected);
  EXPECT_EQ(ModSeqOf(judged.results[3].current), 102u) << "the current value is the group's own";
  EXPECT_EQ(judged.results[4].verdict, Verdict::kCommitted);
  EXPECT_EQ(reads_, 1);
}

TEST_F(GroupTest, ARejectedUnitLeavesNoTrace) {
  const JudgedGroup judged =
      Judge({Unit{.preconditions = {Present(kFamily, "none")}, .ops = {PutOp("a")}},
             Unit{.preconditions = {Absent(kFamily, "a")}, .ops = {PutOp("b")}}});
  EXPECT_EQ(judged.results[1].verdict, Verdict::kCommitted);
  ASSERT_EQ(judged.commits.size(), 1u);
  EXPECT_EQ(judged.commits[0].ops[0].key, "b");
}

TEST_F(GroupTest, SameKeyInAnotherFamilyIsAnotherKey) {
  const JudgedGroup judged =
      Judge({Unit{.ops = {PutOp("a")}},
             Unit{.preconditions = {Absent(Family::kTombstones, "a"), Present(kFamily, "a")}}});
  EXPECT_EQ(judged.results[1].verdict, Verdict::kCommitted);
}

TEST_F(GroupTest, AValueThatCantBeReadStopsItsUnitOnly) {
  const JudgedGroup judged =
      Judge({Unit{.preconditions = {Absent(kFamily, "unreadable")}, .ops = {PutOp("a")}},
             Unit{.ops = {PutOp("b")}}});
  EXPECT_EQ(judged.results[0].verdict, Verdict::kNotCommitted);
  EXPECT_EQ(judged.results[0].status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(judged.results[1].verdict, Verdict::kCommitted);
}

TEST_F(GroupTest, WhatIsAppliedSparesTheRead) {
  Store("a", 7);
  applied_ = {{"a", 7}, {"none", 0}};
  const JudgedGroup judged =
      Judge({Unit{.preconditions = {ModSeqIs(kFamily, "a", 7), Present(kFamily, "a"),
                                    Absent(kFamily, "none")},
                  .ops = {PutOp("a")}},
             Unit{.preconditions = {ModSeqIs(kFamily, "a", 101)}}});
  EXPECT_EQ(judged.results[0].verdict, Verdict::kCommitted);
  EXPECT_EQ(judged.results[1].verdict, Verdict::kCommitted) << "the group's own write counts";
  EXPECT_EQ(reads_, 0);
}

TEST_F(GroupTest, AFailedPreconditionTellsTheStoredValueWhateverIsApplied) {
  Store("a", 7);
  applied_ = {{"a", 7}};
  const JudgedGroup judged = Judge({Unit{.preconditions = {Absent(kFamily, "a")}},
                                    Unit{.preconditions = {ModSeqIs(kFamily, "a", 6)}}});
  EXPECT_EQ(ModSeqOf(judged.results[0].current), 7u);
  EXPECT_EQ(ModSeqOf(judged.results[1].current), 7u);
  EXPECT_EQ(reads_, 2);
}

TEST_F(GroupTest, LastOpOfAUnitWins) {
  const JudgedGroup judged = Judge({Unit{.ops = {PutOp("a"), Delete(kFamily, "a")}},
                                    Unit{.preconditions = {Absent(kFamily, "a")}}});
  EXPECT_EQ(judged.results[1].verdict, Verdict::kCommitted);
}

}  // namespace
}  // namespace muster::storage

#include "server/core/expiry_brake.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"

namespace muster::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

using Kind = BrakeEvent::Kind;
using Level = BrakeGroup::Level;

constexpr double kShare = 0.3;

BrakeGroup Group(const std::string& service = "web", uint32_t zone = 1) {
  return {Level::kService, service, zone};
}

TEST(TooSilent, IsMoreThanTheShareAndNotJustIt) {
  EXPECT_FALSE(TooSilent({10, 3}, 0.3));
  EXPECT_TRUE(TooSilent({10, 4}, 0.3));
  EXPECT_FALSE(TooSilent({50, 15}, 0.3));
  EXPECT_TRUE(TooSilent({50, 16}, 0.3));
  EXPECT_FALSE(TooSilent({1'000'000, 300'000}, 0.3));
  EXPECT_TRUE(TooSilent({1'000'000, 300'001}, 0.3));
  EXPECT_FALSE(TooSilent({5, 5}, 1.0));
  EXPECT_FALSE(TooSilent({}, 0.3));
  for (uint64_t percent = 1; percent <= 100; ++percent) {
    const double share = static_cast<double>(percent) / 100;
    EXPECT_FALSE(TooSilent({100, percent}, share)) << percent;
    EXPECT_TRUE(TooSilent({100, percent + 1}, share)) << percent;
  }
}

TEST(BrakeGroups, AreOtherOnesWithAnotherLevelServiceOrZone) {
  const std::set<size_t> hashes = {absl::HashOf(Group()), absl::HashOf(Group("db")),
                                   absl::HashOf(Group("web", 2)),
                                   absl::HashOf(BrakeGroup{Level::kZone, "web", 1})};
  EXPECT_EQ(hashes.size(), 4u);
  EXPECT_FALSE(Group() == Group("web", 2));
  EXPECT_FALSE(Group() == Group("db"));
  EXPECT_FALSE(Group() == (BrakeGroup{Level::kZone, "web", 1}));
}

// Leases of one group whose deadline is their number in ms: the lower, the longer overdue.
class ExpiryBrakeTest : public testing::Test {
 protected:
  static OverdueLease Lease(uint64_t handle) {
    return {handle, static_cast<int64_t>(handle) * 1000};
  }
  ExpiryBrake::Verdict Judge(uint64_t handle, Silence silence, const BrakeGroup& group = Group()) {
    return brake_.Judge(now_us_, Lease(handle), group, silence, kShare);
  }
  // All of the group are silent.
  bool IsHeld(uint64_t handle) { return Judge(handle, {50, 50}).hold; }
  // Judges the leases; gives those that may go.
  std::vector<uint64_t> Leave(uint64_t first, uint64_t last) {
    std::vector<uint64_t> gone;
    for (uint64_t handle = first; handle <= last; ++handle) {
      if (!IsHeld(handle)) gone.push_back(handle);
    }
    return gone;
  }
  void Pass(absl::Duration d) { now_us_ += absl::ToInt64Microseconds(d); }
  // These are gone, or came back.
  void Gone(const std::set<uint64_t>& handles) {
    brake_.Review(1000, [&](const OverdueLease& lease) { return !handles.contains(lease.handle); });
  }
  std::vector<Kind> Events() {
    std::vector<Kind> kinds;
    for (const BrakeEvent& event : brake_.TakeEvents()) kinds.push_back(event.kind);
    return kinds;
  }

  BrakeOptions options_ = {.share = kShare};
  ExpiryBrake brake_{options_};
  int64_t now_us_ = 1'000'000'000;
};

std::vector<uint64_t> Range(uint64_t first, uint64_t last) {
  std::vector<uint64_t> out;
  for (; first <= last; ++first) out.push_back(first);
  return out;
}

TEST_F(ExpiryBrakeTest, HoldsBeyondTheShareOnly) {
  EXPECT_FALSE(Judge(1, {10, 3}).hold);
  EXPECT_EQ(brake_.groups(), 0u);
  const auto verdict = Judge(1, {10, 4});
  EXPECT_TRUE(verdict.hold);
  EXPECT_TRUE(verdict.is_new);
  EXPECT_EQ(verdict.judge_again, absl::Seconds(1));
  EXPECT_EQ(brake_.groups(), 1u);
  EXPECT_EQ(brake_.held(), 1u);
  EXPECT_FALSE(Judge(1, {10, 4}).is_new);
  EXPECT_EQ(brake_.held(), 1u);
}

TEST_F(ExpiryBrakeTest, NobodyLeavesForTheHoldAndThenAShareEachInterval) {
  EXPECT_THAT(Leave(1, 50), IsEmpty());
  Pass(absl::Seconds(60) - absl::Microseconds(1));
  EXPECT_THAT(Leave(1, 50), IsEmpty());
  EXPECT_EQ(brake_.held(), 50u);
  Pass(absl::Microseconds(1));
  EXPECT_EQ(Leave(1, 50), Range(1, 8)) << "15 % of 50, rounded up, the longest overdue";
  EXPECT_EQ(brake_.held(), 42u);
  Pass(absl::Seconds(10) - absl::Microseconds(1));
  EXPECT_THAT(Leave(9, 50), IsEmpty());
  Pass(absl::Microseconds(1));
  EXPECT_EQ(Leave(9, 50), Range(9, 16)) << "of the 50 that there were, not of the rest";
  for (uint64_t first = 17; first <= 41; first += 8) {
    Pass(absl::Seconds(10));
    EXPECT_EQ(Leave(first, 50), Range(first, first + 7));
  }
  Pass(absl::Seconds(10));
  EXPECT_EQ(Leave(49, 50), Range(49, 50)) << "the seventh release";
  EXPECT_EQ(brake_.held(), 0u);
}

TEST_F(ExpiryBrakeTest, TheLongestOverdueLeaveFirstWhoeverIsJudgedFirst) {
  for (uint64_t handle = 20; handle > 0; --handle) EXPECT_TRUE(IsHeld(handle));
  Pass(absl::Seconds(60));
  std::vector<uint64_t> gone;
  for (uint64_t handle = 20; handle > 0; --handle) {
    if (!IsHeld(handle)) gone.push_back(handle);
  }
  EXPECT_THAT(gone, ElementsAre(3, 2, 1));
}

TEST_F(ExpiryBrakeTest, OneLeavesAtLeast) {
  EXPECT_THAT(Leave(1, 3), IsEmpty());
  for (uint64_t handle = 1; handle <= 3; ++handle) {
    Pass(handle == 1 ? absl::Seconds(60) : absl::Seconds(10));
    EXPECT_THAT(Leave(handle, 3), ElementsAre(handle));
  }
}

TEST_F(ExpiryBrakeTest, WhoMayGoMayGoUntilItIsGone) {
  EXPECT_THAT(Leave(1, 20), IsEmpty());
  Pass(absl::Seconds(60));
  EXPECT_EQ(Leave(1, 20), Range(1, 3));
  EXPECT_EQ(Leave(1, 20), Range(1, 3)) << "the removal failed: nobody else goes instead";
  EXPECT_EQ(brake_.held(), 17u);
}

TEST_F(ExpiryBrakeTest, ALateJudgementMakesNothingUp) {
  EXPECT_THAT(Leave(1, 50), IsEmpty());
  Pass(absl::Seconds(95));
  EXPECT_EQ(Leave(1, 50), Range(1, 8));
  Pass(absl::Seconds(9));
  EXPECT_THAT(Leave(9, 50), IsEmpty());
  Pass(absl::Seconds(1));
  EXPECT_EQ(Leave(9, 50), Range(9, 16));
}

TEST_F(ExpiryBrakeTest, WhoFallsDueWhileItReleasesJoins) {
  EXPECT_THAT(Leave(1, 20), IsEmpty());
  Pass(absl::Seconds(60));
  EXPECT_EQ(Leave(1, 20), Range(1, 3));
  EXPECT_THAT(Leave(21, 43), IsEmpty());
  Pass(absl::Seconds(10));
  EXPECT_EQ(Leave(4, 43), Range(4, 9)) << "now of the 40 that there are";
  for (uint64_t first = 10; first <= 34; first += 6) {
    Pass(absl::Seconds(10));
    EXPECT_EQ(Leave(first, 43), Range(first, first + 5));
  }
  Pass(absl::Seconds(10));
  EXPECT_EQ(Leave(40, 43), Range(40, 43)) << "no later than the seventh since they joined";
  EXPECT_THAT(Events(), ElementsAre(Kind::kHolds, Kind::kReleases));
}

TEST_F(ExpiryBrakeTest, WhenTheOthersAreBackTheRestMayGo) {
  EXPECT_THAT(Leave(1, 20), IsEmpty());
  Pass(absl::Seconds(5));
  EXPECT_TRUE(Judge(19, {50, 16}).hold);
  EXPECT_FALSE(Judge(20, {50, 15}).hold);
  EXPECT_FALSE(Judge(20, {50, 50}).hold) << "it may go until it is gone";
  EXPECT_EQ(brake_.held(), 19u);
}

// Its release made the group so small that it would be judged with another one.
TEST_F(ExpiryBrakeTest, AHeldOneStaysWithItsGroup) {
  EXPECT_EQ(brake_.GroupOf(Lease(1)), nullptr);
  EXPECT_TRUE(IsHeld(1));
  ASSERT_NE(brake_.GroupOf(Lease(1)), nullptr);
  EXPECT_EQ(*brake_.GroupOf(Lease(1)), Group());
  EXPECT_EQ(brake_.GroupOf({1, 77}), nullptr) << "renewed since";
  EXPECT_TRUE(Judge(1, {4, 4}).hold);
}

TEST_F(ExpiryBrakeTest, EachGroupHasAHoldOfItsOwn) {
  const BrakeGroup zone{Level::kZone, "", 1};
  EXPECT_TRUE(Judge(1, {5, 5}).hold);
  Pass(absl::Seconds(30));
  EXPECT_TRUE(Judge(2, {5, 5}, zone).hold);
  EXPECT_TRUE(Judge(3, {5, 5}, Group("web", 0)).hold) << "no zone is a zone";
  EXPECT_FALSE(Judge(4, {5, 1}, Group("web", 2)).hold);
  EXPECT_EQ(brake_.groups(), 3u);
  Pass(absl::Seconds(30));
  EXPECT_FALSE(Judge(1, {5, 5}).hold);
  EXPECT_TRUE(Judge(2, {5, 5}, zone).hold) << "it began later";
  Pass(absl::Seconds(30));
  EXPECT_FALSE(Judge(2, {5, 5}, zone).hold);
}

TEST_F(ExpiryBrakeTest, AHoldEndsWhenNobodyIsOverdueAndALaterOneBeginsAnew) {
  EXPECT_THAT(Leave(1, 5), IsEmpty());
  Pass(absl::Seconds(59));
  Gone({1, 2, 3, 4});
  EXPECT_EQ(brake_.held(), 1u);
  EXPECT_THAT(Events(), ElementsAre(Kind::kHolds));
  Gone({5});
  EXPECT_THAT(Events(), ElementsAre(Kind::kEnds));
  EXPECT_EQ(brake_.groups(), 0u);
  EXPECT_EQ(brake_.held(), 0u);
  Pass(absl::Seconds(1));
  EXPECT_THAT(Leave(1, 5), IsEmpty());
  Pass(absl::Seconds(59));
  EXPECT_THAT(Leave(1, 5), IsEmpty());
  Pass(absl::Seconds(1));
  EXPECT_THAT(Leave(1, 5), ElementsAre(1));
}

TEST_F(ExpiryBrakeTest, AHoldEndsWhenTheLastThatMayGoIsGone) {
  EXPECT_TRUE(IsHeld(1));
  Pass(absl::Seconds(60));
  EXPECT_FALSE(IsHeld(1));
  EXPECT_EQ(brake_.groups(), 1u) << "its removal may fail";
  Gone({});
  EXPECT_EQ(brake_.groups(), 1u);
  Gone({1});
  EXPECT_EQ(brake_.groups(), 0u);
  EXPECT_THAT(Events(), ElementsAre(Kind::kHolds, Kind::kReleases, Kind::kEnds));
}

// Before Review saw that.
TEST_F(ExpiryBrakeTest, WhoWasRenewedAndFallsDueAgainIsNew) {
  EXPECT_THAT(Leave(1, 2), IsEmpty());
  EXPECT_TRUE(brake_.Judge(now_us_, {1, 9000}, Group(), {50, 50}, kShare).is_new);
  EXPECT_EQ(brake_.held(), 2u);
  Pass(absl::Seconds(60));
  EXPECT_FALSE(IsHeld(2)) << "now the longest overdue";
  EXPECT_FALSE(brake_.Judge(now_us_, {1, 10'000}, Group(), {50, 0}, kShare).hold);
  EXPECT_EQ(brake_.held(), 0u);
  EXPECT_EQ(brake_.GroupOf({1, 10'000}), nullptr);
  Gone({1, 2});
  EXPECT_EQ(brake_.groups(), 0u);
}

TEST_F(ExpiryBrakeTest, WhoWasTheOnlyOneAndFallsDueAgainBeginsAnew) {
  EXPECT_TRUE(IsHeld(1));
  Pass(absl::Seconds(60));
  EXPECT_TRUE(brake_.Judge(now_us_, {1, 9000}, Group(), {50, 50}, kShare).hold);
  EXPECT_THAT(Events(), ElementsAre(Kind::kHolds, Kind::kEnds, Kind::kHolds));
}

TEST_F(ExpiryBrakeTest, AReleasedOneMayGoWhateverItsGroup) {
  EXPECT_THAT(Leave(1, 2), IsEmpty());
  brake_.Release(Lease(1));
  brake_.Release(Lease(7));
  EXPECT_EQ(brake_.held(), 1u);
  EXPECT_FALSE(IsHeld(1));
  EXPECT_TRUE(IsHeld(2));
}

TEST_F(ExpiryBrakeTest, ReviewLooksAtSoManyInTurn) {
  EXPECT_THAT(Leave(1, 5), IsEmpty());
  std::vector<uint64_t> looked;
  for (int round = 0; round < 3; ++round) {
    brake_.Review(2, [&](const OverdueLease& lease) {
      looked.push_back(lease.handle);
      EXPECT_EQ(lease.deadline_us, Lease(lease.handle).deadline_us);
      return true;
    });
  }
  EXPECT_THAT(looked, ElementsAre(1, 2, 3, 4, 5, 1));
}

TEST_F(ExpiryBrakeTest, TheManyAreJudgedAgainLaterAndAllWhenTheNextLeave) {
  for (uint64_t handle = 1; handle <= 100'000; ++handle) EXPECT_TRUE(IsHeld(handle));
  EXPECT_EQ(Judge(1, {50, 50}).judge_again, absl::Seconds(3));
  Pass(absl::Seconds(59));
  EXPECT_EQ(Judge(1, {50, 50}).judge_again, absl::Seconds(1)) << "the first may leave then";
  for (uint64_t handle = 100'001; handle <= 500'000; ++handle) IsHeld(handle);
  Pass(-absl::Seconds(30));
  EXPECT_EQ(Judge(1, {50, 50}).judge_again, absl::Seconds(10));
}

TEST_F(ExpiryBrakeTest, AnEventSaysWhatItIsAbout) {
  Judge(1, {10, 4});
  Judge(2, {10, 5});
  Pass(absl::Seconds(60));
  Judge(2, {10, 6});
  const auto events = brake_.TakeEvents();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].group, Group());
  EXPECT_EQ(events[0].silence, (Silence{10, 4}));
  EXPECT_EQ(events[0].share, kShare);
  EXPECT_EQ(events[1].held, 2u);
  EXPECT_EQ(events[1].silence, (Silence{10, 6}));
  EXPECT_THAT(brake_.TakeEvents(), IsEmpty());
}

TEST_F(ExpiryBrakeTest, WithoutAHoldTheyLeaveAtOnceButSlowly) {
  options_.hold = absl::ZeroDuration();
  options_.release_share = 1;
  ExpiryBrake brake(options_);
  EXPECT_FALSE(brake.Judge(now_us_, Lease(1), Group(), {50, 50}, kShare).hold);
  EXPECT_TRUE(brake.Judge(now_us_, Lease(2), Group(), {50, 50}, kShare).hold);
}

// Random histories: leases of four groups fall silent, come back, and fall due again. What the
// brake says is checked against plain books of who is held since when.
class RandomHistory {
 public:
  explicit RandomHistory(uint64_t seed) : rng_(seed) {}

  void Run() {
    for (uint64_t handle = 1; handle <= kLeases; ++handle) {
      leases_[handle] = {.group = static_cast<uint32_t>(rng_.Uniform(kGroups)),
                         .deadline = now_ + static_cast<int64_t>(rng_.Uniform(kTtl))};
    }
    for (int step = 0; step < 4000 && !testing::Test::HasFailure(); ++step) {
      now_ += kStep;
      Live(step < 3000);
      Review();
      for (auto& [handle, lease] : leases_) {
        if (!lease.gone && lease.deadline <= now_ && lease.judge_at <= now_) Judge(handle, lease);
      }
      CheckOrder();
      EXPECT_EQ(brake_.held(), CountHeld({}));
    }
    EXPECT_EQ(brake_.held(), 0u) << "all came back or left long ago";
    EXPECT_EQ(brake_.groups(), 0u);
    EXPECT_GT(holds_, 20);
    EXPECT_GT(releases_, 200);
  }

 private:
  static constexpr uint64_t kLeases = 120, kGroups = 4;
  static constexpr int64_t kStep = 100'000, kTtl = 3'000'000;
  static constexpr int64_t kHold = 6'000'000, kInterval = 1'000'000;
  static constexpr int kReleases = 5;  // each of a fifth
  struct ModelLease {
    uint32_t group = 0;
    int64_t deadline = 0;
    bool beats = true;
    bool gone = false;
    int64_t judge_at = 0;
    std::optional<int64_t> held_since{};
  };
  struct ModelHold {
    int64_t began = 0;
    size_t most = 0;              // that were held at once
    std::vector<int64_t> left{};  // when somebody did in its turn
    int64_t last_deadline = 0;    // of those that left in this step
  };

  // Whole groups are cut off and come back; single leases die and are replaced.
  void Live(bool trouble) {
    for (uint32_t group = 0; group < kGroups; ++group) {
      if (!trouble || rng_.Uniform(150) == 0) SetBeating(group, true);
      if (trouble && rng_.Uniform(200) == 0) SetBeating(group, false);
    }
    for (auto& [handle, lease] : leases_) {
      if (trouble && rng_.Uniform(2000) == 0) lease.beats = !lease.beats;
      if (lease.gone && rng_.Uniform(50) == 0) {
        lease = {.group = lease.group, .deadline = now_ + kTtl};
      }
      if (lease.gone || !lease.beats || (trouble && rng_.Uniform(8) != 0)) continue;
      lease.deadline = now_ + kTtl;
      lease.held_since.reset();
      lease.judge_at = 0;
    }
  }
  void SetBeating(uint32_t group, bool beats) {
    for (auto& [handle, lease] : leases_) {
      if (lease.group == group) lease.beats = beats;
    }
  }
  void Review() {
    brake_.Review(kLeases, [this](const OverdueLease& lease) {
      const ModelLease& present = leases_.at(lease.handle);
      return !present.gone && present.deadline == lease.deadline_us;
    });
    for (uint32_t group = 0; group < kGroups; ++group) {
      if (CountHeld(group) == 0) model_.erase(group);
    }
  }
  size_t CountHeld(std::optional<uint32_t> group) const {
    return static_cast<size_t>(std::count_if(leases_.begin(), leases_.end(), [&](const auto& one) {
      const ModelLease& lease = one.second;
      return (!group || lease.group == *group) && !lease.gone && lease.held_since;
    }));
  }
  Silence Count(uint32_t group) const {
    Silence out;
    for (const auto& [handle, lease] : leases_) {
      if (lease.group != group || lease.gone) continue;
      ++out.leases;
      if (2 * (now_ - lease.deadline) + kTtl > 0) ++out.silent;
    }
    return out;
  }
  void Judge(uint64_t handle, ModelLease& lease) {
    const Silence silence = Count(lease.group);
    const auto verdict = brake_.Judge(now_, {handle, lease.deadline},
                                      {Level::kZone, "", lease.group}, silence, kShare);
    if (!TooSilent(silence, kShare)) {
      EXPECT_FALSE(verdict.hold) << "too few are silent";
    } else if (verdict.hold) {
      Held(lease, verdict);
    } else {
      Left(lease);
    }
    if (verdict.hold) return;
    lease.gone = true;
    Review();
  }
  void Held(ModelLease& lease, const ExpiryBrake::Verdict& verdict) {
    EXPECT_EQ(verdict.is_new, !lease.held_since);
    if (!lease.held_since) lease.held_since = now_;
    const auto [hold, began] = model_.try_emplace(lease.group, ModelHold{.began = now_});
    if (began) ++holds_;
    hold->second.most = std::max(hold->second.most, CountHeld(lease.group));
    lease.judge_at = now_ + absl::ToInt64Microseconds(verdict.judge_again);
    EXPECT_LT(now_ - *lease.held_since, kHold + kReleases * kInterval) << "it is time to leave";
  }
  // In its turn, since too many are silent.
  void Left(ModelLease& lease) {
    ASSERT_TRUE(model_.contains(lease.group)) << "the first is held";
    ModelHold& hold = model_[lease.group];
    if (!lease.held_since) hold.most = std::max(hold.most, CountHeld(lease.group) + 1);
    EXPECT_GE(now_, hold.began + kHold);
    hold.left.push_back(now_);
    const auto lately = std::count_if(hold.left.begin(), hold.left.end(), [&](int64_t at) {
      return at > now_ - kInterval + 2 * kStep;
    });
    EXPECT_LE(static_cast<size_t>(lately), (hold.most + kReleases - 1) / kReleases);
    hold.last_deadline = std::max(hold.last_deadline, lease.deadline);
    ++releases_;
  }
  // Who left was overdue for longer than who stays.
  void CheckOrder() {
    for (auto& [group, hold] : model_) {
      const int64_t last = std::exchange(hold.last_deadline, 0);
      for (const auto& [handle, lease] : leases_) {
        if (lease.group != group || lease.gone || lease.held_since.value_or(now_) == now_) continue;
        EXPECT_GE(lease.deadline, last);
      }
    }
  }

  base::SeededRng rng_;
  ExpiryBrake brake_{{.share = kShare,
                      .hold = absl::Microseconds(kHold),
                      .release_share = 1.0 / kReleases,
                      .release_interval = absl::Microseconds(kInterval)}};
  int64_t now_ = 1'000'000'000;
  std::map<uint64_t, ModelLease> leases_;
  std::map<uint32_t, ModelHold> model_;  // while somebody is held
  int holds_ = 0;
  int releases_ = 0;
};

TEST(ExpiryBrakeHistory, KeepsItsRules) {
  for (uint64_t seed = 1; seed <= 20 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    RandomHistory(seed).Run();
  }
}

}  // namespace
}  // namespace muster::core

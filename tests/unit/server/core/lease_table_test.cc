#include "server/core/lease_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/fake_clock.h"
#include "base/thread.h"

namespace muster::core {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::Ge;
using testing::IsEmpty;
using testing::Le;

constexpr absl::Duration kTtl = absl::Seconds(3);
constexpr absl::Duration kStep = absl::Milliseconds(100);

LeaseSpec Spec(const std::string& key, uint64_t incarnation, absl::Duration ttl = kTtl,
               std::vector<uint64_t> superseded = {}) {
  LeaseSpec spec;
  spec.key = key;
  spec.mod_seq = incarnation;
  spec.incarnation = incarnation;
  spec.ttl = ttl;
  for (const uint64_t old : superseded) spec.superseded.push_back({LifeId{}, old});
  return spec;
}

class LeaseTableTest : public testing::Test {
 protected:
  // Time passes in steps, as it does under a ticker. Gives what expired on the way.
  std::vector<std::string> Pass(absl::Duration d, absl::Duration step = kStep) {
    std::vector<std::string> expired;
    for (absl::Duration done; done < d; done += step) {
      clock_.Advance(std::min(step, d - done));
      table_.Tick();
      for (const auto& lease : table_.TakeExpired(1000)) {
        expired.push_back(std::string(lease->key()));
        taken_.push_back(lease);
      }
    }
    return expired;
  }
  // How long until `key` is taken, in steps.
  absl::Duration UntilTaken(const std::string& key, absl::Duration limit) {
    for (absl::Duration passed = kStep; passed <= limit; passed += kStep) {
      for (const std::string& taken : Pass(kStep)) {
        if (taken == key) return passed;
      }
    }
    return absl::InfiniteDuration();
  }
  absl::Duration Remaining(const std::string& key) {
    const auto lease = table_.Find(key);
    return lease == nullptr ? -absl::Seconds(1) : table_.Remaining(*lease);
  }
  RenewOutcome Renew(const std::string& key, uint64_t incarnation = 0) {
    return table_.Renew(key, incarnation).outcome;
  }
  RenewOutcome RenewHandle(uint64_t handle) { return table_.RenewHandle(handle).outcome; }

  base::FakeClock clock_;
  base::SeededRng rng_{7};
  LeaseTable table_{clock_, rng_, {}};
  std::vector<LeasePtr> taken_;
};

class LoadedLeaseTableTest : public LeaseTableTest {
 protected:
  LoadedLeaseTableTest() { table_.SetLoaded(); }
};

TEST_F(LoadedLeaseTableTest, ASilentLeaseExpiresAtItsTtlAndATickLateAtMost) {
  clock_.Advance(absl::Milliseconds(37));
  table_.Tick();
  table_.Put(Spec("a", 1));
  EXPECT_THAT(Pass(kTtl - absl::Milliseconds(1), absl::Milliseconds(1)), IsEmpty());
  EXPECT_THAT(Pass(absl::Milliseconds(101), absl::Milliseconds(1)), ElementsAre("a"));
  EXPECT_THAT(Pass(absl::Seconds(10)), IsEmpty()) << "taken once only";
}

TEST_F(LoadedLeaseTableTest, ARenewedLeaseLives) {
  table_.Put(Spec("a", 1));
  table_.Put(Spec("b", 2));
  for (int i = 0; i < 50; ++i) {
    EXPECT_THAT(Pass(absl::Milliseconds(1400)), IsEmpty());
    const Renewal by_key = table_.Renew("a", 1);
    EXPECT_EQ(by_key.outcome, RenewOutcome::kRenewed);
    EXPECT_EQ(by_key.remaining, kTtl);
    EXPECT_EQ(RenewHandle(2), RenewOutcome::kRenewed);
    EXPECT_EQ(Remaining("a"), kTtl);
  }
  EXPECT_THAT(UntilTaken("a", absl::Minutes(1)), AllOf(Ge(kTtl), Le(kTtl + kStep)));
}

TEST_F(LoadedLeaseTableTest, ARegistrationThatChangedNothingRenews) {
  table_.Put(Spec("a", 1));
  Pass(absl::Seconds(2));
  EXPECT_EQ(Remaining("a"), absl::Seconds(1));
  EXPECT_TRUE(table_.Renew(*table_.Find("a")));
  EXPECT_EQ(Remaining("a"), kTtl);
}

TEST_F(LoadedLeaseTableTest, AnExpiringLeaseCannotBeRenewed) {
  table_.Put(Spec("a", 1));
  ASSERT_THAT(Pass(kTtl + kStep), ElementsAre("a"));
  EXPECT_EQ(Renew("a"), RenewOutcome::kUnknown);
  EXPECT_EQ(Renew("a", 1), RenewOutcome::kUnknown);
  EXPECT_EQ(RenewHandle(1), RenewOutcome::kUnknown);
  EXPECT_FALSE(table_.Renew(*taken_[0]));
}

TEST_F(LoadedLeaseTableTest, StaleAndUnknownAreToldApart) {
  table_.Put(Spec("a", 5));
  EXPECT_EQ(Renew("a", 4), RenewOutcome::kStale);
  EXPECT_EQ(Renew("a", 6), RenewOutcome::kUnknown);
  EXPECT_EQ(Renew("a", 0), RenewOutcome::kRenewed);
  EXPECT_EQ(Renew("b", 5), RenewOutcome::kUnknown);
  EXPECT_EQ(RenewHandle(4), RenewOutcome::kUnknown);
  EXPECT_EQ(RenewHandle(0), RenewOutcome::kUnknown);
}

TEST_F(LoadedLeaseTableTest, HandlesOfReplacedLivesAreStale) {
  table_.Put(Spec("a", 1));
  table_.Put(Spec("a", 2, kTtl, {1}));
  table_.Put(Spec("a", 3, kTtl, {2, 1}));
  EXPECT_EQ(table_.size(), 1u);
  Pass(absl::Seconds(2));
  EXPECT_EQ(RenewHandle(1), RenewOutcome::kStale);
  EXPECT_EQ(RenewHandle(2), RenewOutcome::kStale);
  EXPECT_EQ(Remaining("a"), absl::Seconds(1)) << "a stale life renews nothing";
  EXPECT_EQ(RenewHandle(3), RenewOutcome::kRenewed);

  table_.Put(Spec("a", 4, kTtl, {3}));
  EXPECT_EQ(RenewHandle(1), RenewOutcome::kUnknown) << "no longer remembered";
  EXPECT_EQ(RenewHandle(3), RenewOutcome::kStale);
}

TEST_F(LoadedLeaseTableTest, AllHandlesGoWithTheLease) {
  table_.Put(Spec("a", 2, kTtl, {1}));
  table_.Erase("a");
  EXPECT_EQ(table_.size(), 0u);
  EXPECT_EQ(table_.Find("a"), nullptr);
  EXPECT_EQ(RenewHandle(1), RenewOutcome::kUnknown);
  EXPECT_EQ(RenewHandle(2), RenewOutcome::kUnknown);
  EXPECT_THAT(Pass(absl::Seconds(10)), IsEmpty());
  table_.Erase("a");
  EXPECT_EQ(table_.size(), 0u);
}

TEST_F(LoadedLeaseTableTest, ALeaseThatIsGoneCannotBeRenewedThroughAPointer) {
  table_.Put(Spec("a", 1));
  const auto erased = table_.Find("a");
  table_.Erase("a");
  EXPECT_FALSE(table_.Renew(*erased));
  table_.Put(Spec("b", 2));
  const auto replaced = table_.Find("b");
  table_.Put(Spec("b", 3));
  EXPECT_FALSE(table_.Renew(*replaced));
  EXPECT_TRUE(table_.Renew(*table_.Find("b")));
}

TEST_F(LoadedLeaseTableTest, ANewCommitStartsAFullTtl) {
  table_.Put(Spec("a", 1));
  Pass(absl::Seconds(2));
  table_.Put(Spec("a", 1, absl::Seconds(5)));
  EXPECT_EQ(Remaining("a"), absl::Seconds(5));
  EXPECT_THAT(UntilTaken("a", absl::Minutes(1)),
              AllOf(Ge(absl::Seconds(5)), Le(absl::Seconds(5) + kStep)));
}

TEST_F(LoadedLeaseTableTest, AChangeOfHealthKeepsTheDeadline) {
  table_.Put(Spec("a", 1));
  Pass(absl::Seconds(2));
  LeaseSpec changed = Spec("a", 1);
  changed.mod_seq = 9;
  table_.Put(std::move(changed));
  EXPECT_EQ(table_.Find("a")->mod_seq(), 9u);
  EXPECT_EQ(Remaining("a"), absl::Seconds(1));
  EXPECT_THAT(UntilTaken("a", absl::Minutes(1)),
              AllOf(Ge(absl::Seconds(1)), Le(absl::Seconds(1) + kStep)));
}

TEST_F(LoadedLeaseTableTest, AChangeOfHealthDoesNotSaveAnExpiringLease) {
  table_.Put(Spec("a", 1));
  ASSERT_THAT(Pass(kTtl + kStep), ElementsAre("a"));
  table_.Put(Spec("a", 1));
  EXPECT_THAT(Pass(2 * kStep), ElementsAre("a"));
  // Unless a heartbeat comes in between.
  table_.Put(Spec("a", 1));
  EXPECT_EQ(Renew("a", 1), RenewOutcome::kRenewed);
  EXPECT_THAT(Pass(kTtl - kStep), IsEmpty());
}

TEST_F(LoadedLeaseTableTest, KeepDeadlineOfAnUnknownLeaseIsAFullTtl) {
  table_.Put(Spec("a", 1));
  EXPECT_EQ(Remaining("a"), kTtl);
  // A permanent one had none to keep.
  table_.Put(Spec("b", 2, absl::ZeroDuration()));
  table_.Put(Spec("b", 2));
  EXPECT_EQ(Remaining("b"), kTtl);
}

TEST_F(LoadedLeaseTableTest, APermanentLeaseNeverExpires) {
  table_.Put(Spec("a", 1, absl::ZeroDuration()));
  EXPECT_TRUE(table_.Find("a")->permanent());
  EXPECT_THAT(Pass(absl::Hours(1), absl::Seconds(1)), IsEmpty());
  const Renewal renewal = table_.RenewHandle(1);
  EXPECT_EQ(renewal.outcome, RenewOutcome::kRenewed);
  EXPECT_EQ(renewal.remaining, absl::ZeroDuration());
  EXPECT_EQ(Remaining("a"), absl::ZeroDuration());
  EXPECT_THAT(Pass(absl::Hours(1), absl::Seconds(1)), IsEmpty());
}

TEST_F(LoadedLeaseTableTest, ALeaseThatBecomesPermanentStays) {
  table_.Put(Spec("a", 1));
  table_.Put(Spec("a", 1, absl::ZeroDuration()));
  EXPECT_THAT(Pass(absl::Minutes(1)), IsEmpty());
}

TEST_F(LoadedLeaseTableTest, ATtlBeyondTheWheelsHorizonIsKeptExactly) {
  const absl::Duration ttl = absl::Hours(24);
  table_.Put(Spec("a", 1, ttl));
  EXPECT_THAT(Pass(ttl - absl::Seconds(1), absl::Seconds(1)), IsEmpty());
  EXPECT_THAT(Pass(absl::Milliseconds(900)), IsEmpty());
  EXPECT_THAT(Pass(2 * kStep), ElementsAre("a"));
}

TEST_F(LoadedLeaseTableTest, TheLongestOverdueComeFirst) {
  for (uint64_t i = 1; i <= 100; ++i) {
    table_.Put(Spec(absl::StrCat(i), i, kTtl + absl::Milliseconds(97 * (i * 37 % 101))));
  }
  for (int i = 0; i < 200; ++i) {
    clock_.Advance(kStep);
    table_.Tick();
  }
  absl::Duration last;
  for (size_t left = 100; left > 0; left -= 10) {
    const auto taken = table_.TakeExpired(10);
    ASSERT_EQ(taken.size(), 10u);
    for (const auto& lease : taken) {
      EXPECT_GE(lease->ttl(), last - kStep);
      last = std::max(last, lease->ttl());
    }
  }
  EXPECT_THAT(table_.TakeExpired(10), IsEmpty());
}

TEST_F(LoadedLeaseTableTest, AnOverdueLeaseThatWaitsItsTurnCanStillBeRenewed) {
  table_.Put(Spec("a", 1));
  table_.Put(Spec("b", 2));
  for (int i = 0; i < 31; ++i) {
    clock_.Advance(kStep);
    table_.Tick();
  }
  const auto first = table_.TakeExpired(1);
  ASSERT_EQ(first.size(), 1u);
  const uint64_t other = 3 - first[0]->incarnation();
  EXPECT_EQ(RenewHandle(other), RenewOutcome::kRenewed);
  EXPECT_THAT(table_.TakeExpired(1), IsEmpty());
  EXPECT_EQ(Pass(kTtl + kStep).size(), 1u);
}

TEST_F(LoadedLeaseTableTest, AGivenBackLeaseIsTakenAgainAfterTheDelay) {
  table_.Put(Spec("a", 1));
  EXPECT_FALSE(table_.IsOverdue("a"));
  ASSERT_THAT(Pass(kTtl + kStep), ElementsAre("a"));
  EXPECT_TRUE(table_.IsOverdue("a"));
  table_.GiveBack(*taken_[0], absl::Seconds(1));
  EXPECT_EQ(Remaining("a"), absl::ZeroDuration());
  EXPECT_TRUE(table_.IsOverdue("a")) << "as before";
  EXPECT_THAT(Pass(absl::Milliseconds(900)), IsEmpty());
  EXPECT_THAT(Pass(2 * kStep), ElementsAre("a"));
  table_.GiveBack(*taken_[1], absl::Seconds(1));
  EXPECT_EQ(RenewHandle(1), RenewOutcome::kRenewed);
  EXPECT_FALSE(table_.IsOverdue("a"));
  EXPECT_THAT(UntilTaken("a", absl::Minutes(1)), AllOf(Ge(kTtl), Le(kTtl + kStep)));
}

TEST_F(LoadedLeaseTableTest, WhoMayNotGoStaysAndIsAskedAboutAgain) {
  table_.Put(Spec("a", 1));
  table_.Put(Spec("b", 2));
  for (int i = 0; i < 31; ++i) {
    clock_.Advance(kStep);
    table_.Tick();
  }
  std::vector<std::string> asked;
  const auto take = [&] {
    return table_.TakeExpired(10, [&](const Lease& lease) -> std::optional<absl::Duration> {
      asked.push_back(std::string(lease.key()));
      if (lease.key() == "b") return std::nullopt;
      return absl::Seconds(1);
    });
  };
  auto due = take();
  EXPECT_EQ(due.kept, 1u);
  ASSERT_EQ(due.expired.size(), 1u);
  EXPECT_EQ(due.expired[0]->key(), "b");
  EXPECT_EQ(RenewHandle(2), RenewOutcome::kUnknown);
  EXPECT_TRUE(table_.IsOverdue("a"));
  asked.clear();
  for (int tenth = 1; tenth <= 10; ++tenth) {
    clock_.Advance(kStep);
    table_.Tick();
    due = take();
    EXPECT_EQ(due.kept, tenth < 10 ? 0u : 1u) << tenth;
    EXPECT_THAT(due.expired, IsEmpty());
  }
  EXPECT_THAT(asked, ElementsAre("a"));
  EXPECT_EQ(RenewHandle(1), RenewOutcome::kRenewed) << "it never was expiring";
}

// Between the question and the answer.
TEST_F(LoadedLeaseTableTest, WhoIsRenewedWhileItIsAskedAboutStays) {
  table_.Put(Spec("a", 1));
  for (int i = 0; i < 31; ++i) {
    clock_.Advance(kStep);
    table_.Tick();
  }
  const auto due = table_.TakeExpired(10, [&](const Lease&) -> std::optional<absl::Duration> {
    EXPECT_EQ(RenewHandle(1), RenewOutcome::kRenewed);
    return std::nullopt;
  });
  EXPECT_EQ(due.kept, 0u);
  EXPECT_THAT(due.expired, IsEmpty());
  EXPECT_THAT(UntilTaken("a", absl::Minutes(1)), AllOf(Ge(kTtl - kStep), Le(kTtl + kStep)));
}

// Whatever the time after which it was to be asked about again.
TEST_F(LoadedLeaseTableTest, WhoWasKeptRenewedAndFallsDueAgainIsTakenInTime) {
  table_.Put(Spec("a", 1));
  for (int i = 0; i < 31; ++i) {
    clock_.Advance(kStep);
    table_.Tick();
  }
  EXPECT_EQ(table_.TakeExpired(10, [](const Lease&) { return absl::Minutes(1); }).kept, 1u);
  EXPECT_EQ(RenewHandle(1), RenewOutcome::kRenewed);
  EXPECT_THAT(UntilTaken("a", absl::Minutes(2)), AllOf(Ge(kTtl - kStep), Le(kTtl + kStep)));
}

TEST_F(LoadedLeaseTableTest, ForEachVisitsEveryLeaseOnce) {
  std::vector<std::string> wanted, seen;
  table_.ForEach([&](const Lease& lease) { seen.push_back(std::string(lease.key())); });
  EXPECT_THAT(seen, IsEmpty());
  for (uint64_t i = 1; i <= 5000; ++i) {
    wanted.push_back(absl::StrCat("key ", i));
    table_.Put(Spec(wanted.back(), i));
  }
  table_.ForEach([&](const Lease& lease) { seen.push_back(std::string(lease.key())); });
  std::sort(seen.begin(), seen.end());
  std::sort(wanted.begin(), wanted.end());
  EXPECT_EQ(seen, wanted);
}

TEST_F(LoadedLeaseTableTest, ADeadlineIsThatOfThePresentLife) {
  table_.Put(Spec("a", 1));
  const int64_t deadline = LeaseTable::DeadlineUs(*table_.Find("a"));
  EXPECT_TRUE(table_.HasDeadline(1, deadline));
  EXPECT_FALSE(table_.HasDeadline(1, deadline + 1));
  EXPECT_FALSE(table_.HasDeadline(2, deadline));
  table_.Put(Spec("a", 2, kTtl, {1}));
  EXPECT_FALSE(table_.HasDeadline(1, deadline));
  EXPECT_TRUE(table_.HasDeadline(2, deadline));
  table_.Erase("a");
  EXPECT_FALSE(table_.HasDeadline(2, deadline));
}

TEST_F(LeaseTableTest, ALeaseThatARestartBeganAnewIsNotSilent) {
  table_.Restore(Spec("a", 1));
  EXPECT_FALSE(LeaseTable::IsSilent(*table_.Find("a"), table_.NowUs())) << "not begun yet";
  clock_.Advance(absl::Minutes(1));
  table_.SetLoaded();
  const auto lease = table_.Find("a");
  EXPECT_FALSE(LeaseTable::IsSilent(*lease, table_.NowUs()));
  EXPECT_FALSE(LeaseTable::IsSilent(*lease, table_.NowUs() + absl::ToInt64Microseconds(kTtl / 2)));
  EXPECT_TRUE(LeaseTable::IsSilent(*lease, table_.NowUs() + absl::ToInt64Microseconds(kTtl) + 1));
}

TEST(Lease, KeepsItsSpec) {
  LeaseSpec spec = Spec("a", 7, absl::Hours(24 * 366), {1, 2});
  spec.fenced = spec.never_reported = true;
  spec.life.fill(9);
  spec.zone = 0xfedcba98;
  base::FakeClock clock;
  base::SeededRng rng(1);
  LeaseTable table(clock, rng, {});
  table.Put(spec);
  const LeaseSpec kept = table.Find("a")->spec();
  EXPECT_EQ(kept.key, "a");
  EXPECT_EQ(kept.ttl, spec.ttl);
  EXPECT_EQ(kept.zone, spec.zone);
  EXPECT_EQ(kept.life, spec.life);
  EXPECT_TRUE(kept.fenced && kept.never_reported);
  EXPECT_EQ(kept.superseded.size(), 2u);
  spec.ttl = absl::Hours(24 * 366 * 1000);
  table.Put(spec);
  EXPECT_EQ(table.Find("a")->ttl(), absl::Microseconds((int64_t{1} << 46) - 1));
  spec.ttl = absl::ZeroDuration();
  table.Put(spec);
  EXPECT_TRUE(table.Find("a")->permanent());
}

TEST_F(LoadedLeaseTableTest, OnlyALeaseCanBeOverdue) {
  table_.Put(Spec("permanent", 1, absl::ZeroDuration()));
  EXPECT_THAT(Pass(absl::Hours(1), absl::Seconds(1)), IsEmpty());
  EXPECT_FALSE(table_.IsOverdue("permanent"));
  EXPECT_FALSE(table_.IsOverdue("unknown"));
}

TEST_F(LoadedLeaseTableTest, GivingBackWhatWasReplacedDoesNothing) {
  table_.Put(Spec("a", 1));
  ASSERT_THAT(Pass(kTtl + kStep), ElementsAre("a"));
  table_.Put(Spec("a", 2, kTtl, {1}));
  table_.GiveBack(*taken_[0], absl::Seconds(1));
  EXPECT_FALSE(table_.Renew(*taken_[0]));
  EXPECT_EQ(Remaining("a"), kTtl);
  table_.Erase("a");
  table_.GiveBack(*taken_[0], absl::Seconds(1));
  EXPECT_FALSE(table_.Renew(*taken_[0]));
  EXPECT_THAT(Pass(absl::Seconds(10)), IsEmpty());
}

TEST_F(LoadedLeaseTableTest, AGapExpiresNobody) {
  table_.Put(Spec("a", 1));
  EXPECT_THAT(Pass(absl::Seconds(2)), IsEmpty());
  clock_.Advance(absl::Hours(1));
  table_.Tick();
  EXPECT_THAT(table_.TakeExpired(10), IsEmpty());
  EXPECT_EQ(Remaining("a"), absl::Milliseconds(900)) << "a tick's worth passed";
  EXPECT_THAT(UntilTaken("a", absl::Minutes(1)),
              AllOf(Ge(absl::Milliseconds(900)), Le(absl::Seconds(1))));
}

TEST_F(LoadedLeaseTableTest, ASecondWithoutATickIsNoGap) {
  table_.Put(Spec("a", 1));
  EXPECT_THAT(Pass(kTtl, absl::Seconds(1)), ElementsAre("a"));
}

TEST_F(LoadedLeaseTableTest, ManyGapsAddUp) {
  table_.Put(Spec("a", 1));
  for (int i = 0; i < 20; ++i) {
    clock_.Advance(absl::Minutes(1));
    table_.Tick();
    EXPECT_THAT(table_.TakeExpired(10), IsEmpty());
  }
  EXPECT_EQ(Remaining("a"), absl::Seconds(1));
}

// The process continues, and heartbeats come before the ticker does.
TEST_F(LoadedLeaseTableTest, AHeartbeatBetweenGapAndTickGetsNoOverlongDeadline) {
  table_.Put(Spec("a", 1));
  Pass(absl::Seconds(2));
  clock_.Advance(absl::Hours(1));
  EXPECT_EQ(RenewHandle(1), RenewOutcome::kRenewed);
  EXPECT_THAT(table_.TakeExpired(10), IsEmpty());
  table_.Tick();
  EXPECT_THAT(Remaining("a"), AllOf(Ge(kTtl), Le(kTtl + absl::Seconds(1))));
  EXPECT_THAT(UntilTaken("a", absl::Minutes(1)),
              AllOf(Ge(kTtl), Le(kTtl + absl::Seconds(1) + kStep)));
}

TEST_F(LoadedLeaseTableTest, AllGivesEveryLease) {
  for (uint64_t i = 1; i <= 300; ++i) table_.Put(Spec(absl::StrCat("k", i), i));
  EXPECT_EQ(table_.size(), 300u);
  std::vector<std::string> keys;
  for (const auto& lease : table_.All()) keys.push_back(std::string(lease->key()));
  std::sort(keys.begin(), keys.end());
  EXPECT_EQ(std::unique(keys.begin(), keys.end()) - keys.begin(), 300);
}

TEST_F(LeaseTableTest, WhileLoadingRenewalsAreAnsweredLoading) {
  table_.Restore(Spec("a", 1));
  EXPECT_EQ(Renew("a", 1), RenewOutcome::kLoading);
  EXPECT_EQ(Renew("nobody"), RenewOutcome::kLoading);
  EXPECT_EQ(RenewHandle(1), RenewOutcome::kLoading);
  EXPECT_THAT(Pass(absl::Minutes(1)), IsEmpty());
  table_.SetLoaded();
  EXPECT_EQ(Renew("a", 1), RenewOutcome::kRenewed);
  EXPECT_EQ(Renew("nobody"), RenewOutcome::kUnknown);
}

TEST_F(LeaseTableTest, RestoredLeasesGetAFullTtlAndASpread) {
  constexpr int kLeases = 400;
  for (int i = 1; i <= kLeases; ++i) table_.Restore(Spec(absl::StrCat(i), i, absl::Seconds(10)));
  table_.Restore(Spec("permanent", 1000, absl::ZeroDuration()));
  EXPECT_EQ(table_.size(), kLeases + 1u);
  clock_.Advance(absl::Minutes(10));  // loading took long, and nobody ticked
  table_.SetLoaded();
  EXPECT_THAT(Pass(absl::Milliseconds(9900)), IsEmpty());
  int total = 0;
  for (int i = 0; i < 6; ++i) {  // the last second: up to a tick late
    const int expired = static_cast<int>(Pass(absl::Seconds(1)).size());
    if (i < 5) {
      EXPECT_THAT(expired, AllOf(Ge(40), Le(120))) << "no herd in second " << i;
    }
    total += expired;
  }
  EXPECT_EQ(total, kLeases);
}

TEST_F(LeaseTableTest, AHeartbeatAfterARestartEndsTheSpread) {
  for (int i = 1; i <= 20; ++i) table_.Restore(Spec(absl::StrCat(i), i, absl::Seconds(10)));
  table_.SetLoaded();
  for (uint64_t i = 1; i <= 20; ++i) EXPECT_EQ(RenewHandle(i), RenewOutcome::kRenewed);
  EXPECT_THAT(Pass(absl::Milliseconds(9900)), IsEmpty());
  EXPECT_EQ(Pass(2 * kStep).size(), 20u);
}

TEST_F(LeaseTableTest, WhatIsReplacedWhileLoadingStillGetsItsSpread) {
  table_.Restore(Spec("a", 1));
  EXPECT_TRUE(table_.Renew(*table_.Find("a")));
  table_.Put(Spec("a", 1));
  table_.Put(Spec("b", 2));
  table_.SetLoaded();
  EXPECT_THAT(Remaining("a"), AllOf(Ge(kTtl), Le(kTtl * 1.5)));
  EXPECT_EQ(Remaining("b"), kTtl);
  EXPECT_EQ(Pass(absl::Seconds(5)).size(), 2u);
  EXPECT_THAT(Pass(absl::Seconds(10)), IsEmpty());
}

// Renewers race with expiry, in many rounds on fresh leases. Once a lease was taken no renewal
// succeeds, and none is taken within a TTL after a renewal that succeeded.
class RenewalRace : public LoadedLeaseTableTest {
 protected:
  static constexpr uint64_t kLeases = 32;
  static constexpr uint64_t kRounds = 300;
  static constexpr absl::Duration kRaceTtl = absl::Seconds(1);
  struct Seen {
    std::atomic<bool> taken{false};
    std::atomic<int64_t> renewed_at_us{0};
  };

  // One of two renewers: each has half of the leases.
  void RenewAll(uint64_t half) {
    base::SeededRng rng(half);
    while (!stop_.load()) {
      const uint64_t handle = first_.load() + 2 * rng.Uniform(kLeases / 2) + half;
      Seen& seen = seen_[handle];
      const bool was_taken = seen.taken.load();
      const int64_t now_us = clock_.Steady().us;
      const Renewal renewal =
          half == 0 ? table_.Renew(absl::StrCat(handle), handle) : table_.RenewHandle(handle);
      ++attempts_;
      if (renewal.outcome != RenewOutcome::kRenewed) continue;
      if (was_taken) ++renewed_after_taken_;
      seen.renewed_at_us = now_us;
    }
  }
  void Round() {
    for (uint64_t i = 0; i < kLeases; ++i) {
      table_.Put(Spec(absl::StrCat(first_ + i), first_ + i, kRaceTtl));
    }
    for (const uint64_t start = attempts_; attempts_ < start + 50;) std::this_thread::yield();
    clock_.Advance(kRaceTtl);
    table_.Tick();
    // In every other round somebody surely renews between the two.
    const uint64_t at_least = attempts_ + (first_ / kLeases % 2 == 0 ? 4 : 0);
    while (attempts_ < at_least) std::this_thread::yield();
    for (const auto& lease : table_.TakeExpired(kLeases)) {
      Seen& seen = seen_[lease->incarnation()];
      EXPECT_FALSE(seen.taken.exchange(true)) << "taken twice";
      EXPECT_GE(absl::Microseconds(clock_.Steady().us - seen.renewed_at_us), kRaceTtl);
      ++taken_count_;
    }
    for (const uint64_t start = attempts_; attempts_ < start + 50;) std::this_thread::yield();
    for (uint64_t i = 0; i < kLeases; ++i) {
      const uint64_t handle = first_ + i;
      EXPECT_EQ(RenewHandle(handle) == RenewOutcome::kUnknown, seen_[handle].taken.load());
      table_.Erase(absl::StrCat(handle));
    }
  }

  std::vector<Seen> seen_{kLeases * (kRounds + 1)};
  std::atomic<uint64_t> first_{kLeases};
  std::atomic<bool> stop_{false};
  std::atomic<int> renewed_after_taken_{0};
  std::atomic<uint64_t> attempts_{0};
  uint64_t taken_count_ = 0;
};

TEST_F(RenewalRace, ARenewalEitherHoldsOrIsToldThatItLost) {
  {
    base::NamedThread by_key("by-key", [&] { RenewAll(0); });
    base::NamedThread by_handle("by-handle", [&] { RenewAll(1); });
    for (uint64_t round = 1; round <= kRounds; ++round) {
      first_ = round * kLeases;
      Round();
    }
    stop_ = true;
  }
  EXPECT_EQ(renewed_after_taken_.load(), 0);
  EXPECT_GT(taken_count_, 0u);
  EXPECT_LT(taken_count_, kLeases * kRounds) << "no renewal ever won";
}

// A renewal that was acknowledged survives a change of health at the same moment.
TEST_F(LoadedLeaseTableTest, AChangeOfHealthLosesNoRenewal) {
  table_.Put(Spec("a", 1));
  std::atomic<bool> stop{false};
  std::atomic<int> failed{0};
  std::atomic<int64_t> renewals{0};
  {
    base::NamedThread renewer("renewer", [&] {
      while (!stop.load()) {
        const bool by_key = renewals.load() % 2 == 0;
        const Renewal renewal = by_key ? table_.Renew("a", 1) : table_.RenewHandle(1);
        if (renewal.outcome != RenewOutcome::kRenewed) ++failed;
        ++renewals;
      }
    });
    for (int i = 0; i < 20'000 || renewals.load() < 1000; ++i) {
      LeaseSpec spec = Spec("a", 1);
      spec.mod_seq = static_cast<uint64_t>(i) + 2;
      table_.Put(std::move(spec));
    }
    stop = true;
  }
  EXPECT_EQ(failed.load(), 0);
  EXPECT_EQ(table_.size(), 1u);
  EXPECT_EQ(Pass(kTtl + kStep).size(), 1u) << "filed once";
}

}  // namespace
}  // namespace muster::core

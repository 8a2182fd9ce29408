#include "client/lease/lease_keeper.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/rng.h"

namespace muster::client {
namespace {

using Failure = LeaseKeeper::Failure;
using Outcome = LeaseKeeper::Outcome;
using Phase = LeaseKeeper::Phase;
using Step = LeaseKeeper::Step;

constexpr absl::Duration kInterval = absl::Seconds(10);

class LeaseKeeperTest : public ::testing::Test {
 protected:
  // Time passes up to the next step, which is then under way.
  Step Next() {
    const auto next = keeper_.next();
    if (!next) return Step::kNothing;
    waited_ = std::max(*next - now_, absl::ZeroDuration());
    now_ = std::max(now_, *next);
    return keeper_.Due(now_);
  }
  void Register() {
    ASSERT_EQ(Next(), Step::kRegister);
    keeper_.Registered(++handle_, kInterval, now_);
  }

  base::SeededRng rng_{7};
  LeaseKeeper keeper_{rng_, {}};
  base::SteadyTime now_{1'000'000};
  absl::Duration waited_;
  uint64_t handle_ = 40;
};

TEST_F(LeaseKeeperTest, RegistersAtOnceAndThenHeartbeats) {
  EXPECT_EQ(keeper_.phase(), Phase::kPending);
  Register();
  EXPECT_EQ(waited_, absl::ZeroDuration());
  EXPECT_EQ(keeper_.phase(), Phase::kHeld);
  EXPECT_TRUE(keeper_.why().ok());
  EXPECT_EQ(keeper_.handle(), 41u);
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(Next(), Step::kBeat);
    EXPECT_GE(waited_, kInterval * 0.8);
    EXPECT_LE(waited_, kInterval);
    EXPECT_EQ(keeper_.Due(now_), Step::kNothing) << "one is under way";
    EXPECT_FALSE(keeper_.next().has_value());
    keeper_.Beat(Outcome::kRenewed, now_);
    EXPECT_EQ(keeper_.confirmed(), now_);
  }
}

TEST_F(LeaseKeeperTest, WhatPassesIsTriedAgainSoonerAtFirst) {
  absl::Duration longest;
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(Next(), Step::kRegister);
    EXPECT_LE(waited_, absl::Milliseconds(200) * (1 << std::min(i, 10)));
    longest = std::max(longest, waited_);
    keeper_.NotRegistered(Failure::kPassing, absl::UnavailableError("away"), now_);
    EXPECT_EQ(keeper_.phase(), Phase::kPending);
    EXPECT_EQ(keeper_.why().message(), "away");
  }
  EXPECT_LE(longest, absl::Seconds(5));
  EXPECT_GT(longest, absl::Seconds(4));
  Register();
}

TEST_F(LeaseKeeperTest, ARefusalIsAskedForAgainAndAnInvalidOneIsNot) {
  ASSERT_EQ(Next(), Step::kRegister);
  keeper_.NotRegistered(Failure::kRefused, absl::PermissionDeniedError("no right"), now_);
  ASSERT_EQ(Next(), Step::kRegister);
  EXPECT_GE(waited_, absl::Seconds(15));
  EXPECT_LE(waited_, absl::Seconds(30));
  keeper_.NotRegistered(Failure::kInvalid, absl::InvalidArgumentError("port"), now_);
  EXPECT_EQ(Next(), Step::kNothing);
  EXPECT_EQ(keeper_.phase(), Phase::kInvalid);
  keeper_.Dropped(absl::UnavailableError("gone"), now_);
  EXPECT_EQ(keeper_.phase(), Phase::kInvalid);
  EXPECT_EQ(keeper_.why().message(), "port");
}

TEST_F(LeaseKeeperTest, ALeaseThatIsLostAloneIsRegisteredAtOnce) {
  Register();
  ASSERT_EQ(Next(), Step::kBeat);
  keeper_.Beat(Outcome::kUnknown, now_);
  EXPECT_EQ(keeper_.phase(), Phase::kLost);
  Register();
  EXPECT_EQ(waited_, absl::ZeroDuration());
  EXPECT_EQ(keeper_.phase(), Phase::kHeld);
}

TEST_F(LeaseKeeperTest, AfterAnOutageItIsToldAtOnceAndRegisteredAgainSpread) {
  Register();
  keeper_.Dropped(absl::UnavailableError("gone"), now_);
  EXPECT_EQ(keeper_.phase(), Phase::kLost);
  ASSERT_EQ(Next(), Step::kBeat);
  EXPECT_LE(waited_, absl::Milliseconds(200));
  keeper_.Beat(Outcome::kLoading, now_);
  ASSERT_EQ(Next(), Step::kBeat);
  EXPECT_LE(waited_, absl::Seconds(1));
  keeper_.Beat(Outcome::kRenewed, now_);
  EXPECT_EQ(keeper_.phase(), Phase::kHeld) << "the server had it all the time";
}

// A thousand whose registry lost its store come back within ten seconds, and never many at once.
TEST_F(LeaseKeeperTest, AThousandComeBackSpread) {
  std::vector<int> arrivals(100);  // by 100 ms
  absl::Duration last;
  for (int i = 0; i < 1'000; ++i) {
    LeaseKeeper keeper(rng_, {});
    keeper.Due(now_);
    keeper.Registered(1, kInterval, now_);
    keeper.Dropped(absl::UnavailableError("gone"), now_);
    const base::SteadyTime beat = *keeper.next();
    ASSERT_EQ(keeper.Due(beat), Step::kBeat);
    keeper.Beat(Outcome::kUnknown, beat);
    const absl::Duration after = *keeper.next() - now_;
    last = std::max(last, after);
    ++arrivals.at(static_cast<size_t>(after / absl::Milliseconds(100)));
  }
  EXPECT_LT(last, absl::Seconds(10));
  const double mean = 1'000 / (last / absl::Milliseconds(100));
  EXPECT_LE(*std::max_element(arrivals.begin(), arrivals.end()), 3 * mean);
}

TEST_F(LeaseKeeperTest, ANewerLifeIsTheEnd) {
  Register();
  ASSERT_EQ(Next(), Step::kBeat);
  keeper_.Beat(Outcome::kStale, now_);
  EXPECT_EQ(keeper_.phase(), Phase::kSuperseded);
  EXPECT_EQ(Next(), Step::kNothing);
  LeaseKeeper other(rng_, {});
  ASSERT_EQ(other.Due(now_), Step::kRegister);
  other.NotRegistered(Failure::kSuperseded, absl::AbortedError("newer"), now_);
  EXPECT_EQ(other.phase(), Phase::kSuperseded);
  EXPECT_FALSE(other.next().has_value());
}

TEST_F(LeaseKeeperTest, APermanentOneNeverBeats) {
  ASSERT_EQ(Next(), Step::kRegister);
  keeper_.Registered(0, absl::ZeroDuration(), now_);
  EXPECT_EQ(keeper_.phase(), Phase::kHeld);
  EXPECT_EQ(Next(), Step::kNothing);
  keeper_.Dropped(absl::UnavailableError("gone"), now_);
  EXPECT_EQ(Next(), Step::kRegister) << "the store may be another one";
  EXPECT_LE(waited_, absl::Seconds(5));
}

TEST_F(LeaseKeeperTest, ARegistrationThatWasUnderWayIsMadeAgain) {
  ASSERT_EQ(Next(), Step::kRegister);
  keeper_.Dropped(absl::UnavailableError("gone"), now_);
  EXPECT_EQ(Next(), Step::kRegister);
  keeper_.Beat(Outcome::kStale, now_);
  EXPECT_EQ(keeper_.phase(), Phase::kPending) << "an answer that comes late means nothing";
}

}  // namespace
}  // namespace muster::client

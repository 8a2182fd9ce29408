#include "server/health/health_state.h"

#include <gtest/gtest.h>

#include <string>

namespace muster::health {
namespace {

using Outcome = HealthState::Outcome;

// p, w, f: a run's outcome, every ten seconds. Gives P, W, C: the status after each.
class HealthStateTest : public testing::Test {
 protected:
  std::string Runs(HealthState& state, std::string_view outcomes) {
    std::string out;
    for (const char c : outcomes) {
      now_ = now_ + absl::Seconds(10);
      const Outcome outcome = c == 'p'   ? Outcome::kPassing
                              : c == 'w' ? Outcome::kWarning
                                         : Outcome::kFailing;
      out.push_back(" PWC"[state.Add(outcome, now_)]);
    }
    return out;
  }
  base::SteadyTime now_{1'000'000};
};

TEST_F(HealthStateTest, TheFirstResultDecidesAlone) {
  const Thresholds three = {.success_before_passing = 3, .failures_before_critical = 3};
  HealthState up(three, v1::CRITICAL, false);
  EXPECT_EQ(Runs(up, "pffp"), "PPPP");
  HealthState down(three, v1::PASSING, false);
  EXPECT_EQ(Runs(down, "fppp"), "CCCP");
  HealthState warned(three, v1::CRITICAL, false);
  EXPECT_EQ(Runs(warned, "wffp"), "WWWW");
}

TEST_F(HealthStateTest, OneThatWasStoredHasHadItsFirst) {
  HealthState state({.success_before_passing = 2, .failures_before_critical = 2}, v1::CRITICAL,
                    true);
  EXPECT_EQ(Runs(state, "pp"), "CP");
}

TEST_F(HealthStateTest, FailuresInARowMakeItCritical) {
  HealthState state({.failures_before_critical = 3}, v1::PASSING, true);
  EXPECT_EQ(Runs(state, "ffpfffp"), "PPPPPCP");
}

TEST_F(HealthStateTest, SuccessesInARowMakeItPassing) {
  HealthState state({.success_before_passing = 3}, v1::CRITICAL, true);
  EXPECT_EQ(Runs(state, "ppfppp"), "CCCCCP");
}

TEST_F(HealthStateTest, AWarningOnTheWay) {
  HealthState state({.failures_before_warning = 1, .failures_before_critical = 3}, v1::PASSING,
                    true);
  EXPECT_EQ(Runs(state, "fpfff"), "WPWWC");
  EXPECT_EQ(Runs(state, "ffp"), "CCP") << "it leads from PASSING only";
}

TEST_F(HealthStateTest, AWarningIsAGoodRun) {
  HealthState state({.success_before_passing = 2, .failures_before_critical = 2}, v1::PASSING,
                    true);
  EXPECT_EQ(Runs(state, "wwp"), "WWP");
  EXPECT_EQ(Runs(state, "fwf"), "PWW") << "a warning ends a row of failures";
  EXPECT_EQ(Runs(state, "ffwp"), "CCCP");
}

TEST_F(HealthStateTest, FlappingTakesLongerEachTimeToPass) {
  HealthState state({}, v1::CRITICAL, true);
  EXPECT_EQ(Runs(state, "pf"), "PC");
  EXPECT_EQ(Runs(state, "pf"), "PC") << "once may happen";
  EXPECT_EQ(Runs(state, "ppf"), "CPC");
  EXPECT_EQ(Runs(state, "ppppf"), "CCCPC");
  EXPECT_EQ(Runs(state, "ppppppppf"), "CCCCCCCPC");
  EXPECT_EQ(Runs(state, "ppppppppf"), "CCCCCCCPC") << "no longer than that";
}

TEST_F(HealthStateTest, TenIntervalsOfPassingForgiveAll) {
  HealthState state({}, v1::CRITICAL, true);
  EXPECT_EQ(Runs(state, "pfpfppf"), "PCPCCPC");
  EXPECT_EQ(state.needed(), 4u);
  EXPECT_EQ(Runs(state, "pppppppppppppf"), "CCCPPPPPPPPPPC");
  EXPECT_EQ(state.needed(), 1u);
}

TEST_F(HealthStateTest, NineIntervalsDoNot) {
  HealthState state({}, v1::CRITICAL, true);
  EXPECT_EQ(Runs(state, "pfpfppf"), "PCPCCPC");
  EXPECT_EQ(Runs(state, "ppppppppppppf"), "CCCPPPPPPPPPC");
  EXPECT_EQ(state.needed(), 8u);
}

TEST_F(HealthStateTest, WhatTheTargetTellsCountsAtOnce) {
  HealthState state({.success_before_passing = 3, .failures_before_critical = 3}, v1::PASSING,
                    true);
  EXPECT_EQ(state.Set(Outcome::kFailing, now_), v1::CRITICAL);
  EXPECT_TRUE(state.failing());
  EXPECT_EQ(state.Set(Outcome::kPassing, now_), v1::PASSING);
  EXPECT_FALSE(state.failing());
}

TEST_F(HealthStateTest, ARestartForgetsRowsNotTheStatus) {
  HealthState state({.failures_before_critical = 2}, v1::PASSING, true);
  EXPECT_EQ(Runs(state, "f"), "P");
  state.Restart();
  EXPECT_EQ(Runs(state, "ff"), "PC");
}

TEST(ThresholdsOfTest, ZeroIsOneAndNoWarning) {
  v1::Check check;
  check.mutable_tcp();
  const Thresholds unset = ThresholdsOf(check);
  EXPECT_EQ(unset.success_before_passing, 1u);
  EXPECT_EQ(unset.failures_before_warning, 0u);
  EXPECT_EQ(unset.failures_before_critical, 1u);
  EXPECT_EQ(unset.interval, absl::Seconds(10));
}

}  // namespace
}  // namespace muster::health

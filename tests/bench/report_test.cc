#include "tests/bench/report.h"

#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <sstream>

namespace muster::bench {
namespace {

using testing::HasSubstr;

Samples Rounds(const std::vector<double>& muster, const std::vector<double>& yardstick) {
  Samples samples;
  for (double value : muster) samples["muster"].push_back({{"rate", value}});
  for (double value : yardstick) samples["empty"].push_back({{"rate", value}});
  return samples;
}

Comparison Ratio(std::optional<Goal> goal) {
  return {.metric = "calls",
          .unit = "1/s",
          .value = {"muster", "rate"},
          .yardstick = Source{"empty", "rate"},
          .goal = goal};
}

TEST(ReportTest, Median) {
  EXPECT_DOUBLE_EQ(Median({}), 0);
  EXPECT_DOUBLE_EQ(Median({3, 1, 2}), 2);
  EXPECT_DOUBLE_EQ(Median({4, 1, 2, 3}), 2.5);
  EXPECT_TRUE(std::isnan(Median({1, std::numeric_limits<double>::infinity(), 2})));
}

// 1, 2, … n: the ends of the interval are the ranks of the values that it ends with. The ranks are
// those of tables of the sign test.
TEST(ReportTest, TheIntervalOfTheMedianIsThatOfOrderStatistics) {
  const auto ranks = [](int n) {
    std::vector<double> values;
    for (int i = n; i >= 1; --i) values.push_back(i);
    const Interval interval = MedianInterval(values);
    return std::pair(interval.low, interval.high);
  };
  EXPECT_EQ(MedianInterval({}).high, 0);
  EXPECT_EQ(ranks(1), std::pair(1.0, 1.0));
  EXPECT_EQ(ranks(5), std::pair(1.0, 5.0));  // 94 %: the widest there is
  EXPECT_EQ(ranks(6), std::pair(1.0, 6.0));
  EXPECT_EQ(ranks(9), std::pair(2.0, 8.0));
  EXPECT_EQ(ranks(10), std::pair(2.0, 9.0));
  EXPECT_EQ(ranks(20), std::pair(6.0, 15.0));
  EXPECT_EQ(ranks(40), std::pair(14.0, 27.0));
}

TEST(ReportTest, AGoalHoldsOnlyWhenTheWholeIntervalSaysSo) {
  EXPECT_EQ(Judge({0.86, 0.99}, AtLeast(0.85)), Verdict::kHolds);
  EXPECT_EQ(Judge({0.84, 0.99}, AtLeast(0.85)), Verdict::kInconclusive);
  EXPECT_EQ(Judge({0.70, 0.84}, AtLeast(0.85)), Verdict::kShort);
  EXPECT_EQ(Judge({1.1, 1.29}, AtMost(1.3)), Verdict::kHolds);
  EXPECT_EQ(Judge({1.1, 1.31}, AtMost(1.3)), Verdict::kInconclusive);
  EXPECT_EQ(Judge({1.31, 1.5}, AtMost(1.3)), Verdict::kShort);
  EXPECT_EQ(Judge({0, 0}, AtMost(0)), Verdict::kHolds);
}

TEST(ReportTest, WhatIsNoNumberNeverHolds) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(Judge({nan, nan}, AtLeast(1)), Verdict::kInconclusive);
  EXPECT_EQ(Judge({nan, nan}, AtMost(2)), Verdict::kInconclusive);
  // One of many, which the interval would leave out: a yardstick that did nothing in a round.
  std::vector<double> yardstick(20, 100);
  yardstick[7] = 0;
  std::vector<double> muster(20, 100);
  muster[7] = 0;
  EXPECT_EQ(Evaluate("x", Ratio(AtLeast(0.5)), Rounds(muster, yardstick))->verdict,
            Verdict::kInconclusive);
}

TEST(ReportTest, TheRatioIsTheMedianOfTheRounds) {
  const auto row = Evaluate("discover", Ratio(AtLeast(0.85)),
                            Rounds({90, 95, 100, 90, 95}, {100, 100, 100, 100, 100}));
  ASSERT_TRUE(row.ok()) << row.status();
  EXPECT_DOUBLE_EQ(row->ratio, 0.95);
  EXPECT_DOUBLE_EQ(row->spread.low, 0.9);
  EXPECT_DOUBLE_EQ(row->spread.high, 1.0);
  EXPECT_EQ(row->verdict, Verdict::kHolds);
}

// A machine that slows down for some rounds slows both: no reason to doubt the ratio.
TEST(ReportTest, DriftThatBothShareIsNoSpread) {
  const auto row =
      Evaluate("discover", Ratio(AtLeast(0.85)), Rounds({90, 45, 180, 9}, {100, 50, 200, 10}));
  ASSERT_TRUE(row.ok()) << row.status();
  EXPECT_NEAR(row->ratio, 0.9, 1e-9);
  EXPECT_NEAR(row->spread.high - row->spread.low, 0, 1e-9);
}

TEST(ReportTest, WithoutAYardstickTheValueIsJudged) {
  const Comparison comparison{
      .metric = "instances", .unit = "1/s", .value = {"muster", "rate"}, .goal = AtLeast(100)};
  const auto row = Evaluate("batch", comparison, Rounds({150, 160, 155}, {}));
  ASSERT_TRUE(row.ok()) << row.status();
  EXPECT_DOUBLE_EQ(row->value, 155);
  EXPECT_EQ(row->verdict, Verdict::kHolds);
}

TEST(ReportTest, OneBadRoundIsEnoughForTheWorst) {
  const Comparison comparison{.metric = "written",
                              .unit = "B",
                              .value = {"muster", "rate"},
                              .goal = AtMost(0),
                              .worst = true};
  EXPECT_EQ(Evaluate("heartbeat", comparison, Rounds({0, 0, 0}, {}))->verdict, Verdict::kHolds);
  const auto row = Evaluate("heartbeat", comparison, Rounds({0, 4096, 0}, {}));
  EXPECT_EQ(row->verdict, Verdict::kShort);
  EXPECT_DOUBLE_EQ(row->value, 4096);
}

TEST(ReportTest, AMissingReadingIsAnError) {
  EXPECT_EQ(Evaluate("x", Ratio(AtLeast(1)), Rounds({1}, {})).status().code(),
            absl::StatusCode::kNotFound);
  Samples samples = Rounds({1, 2}, {1, 2});
  samples["muster"][1].clear();
  EXPECT_EQ(Evaluate("x", Ratio(AtLeast(1)), samples).status().code(), absl::StatusCode::kNotFound);
}

TEST(ReportTest, JsonHasEachFieldAndNullWhereNoneApplies) {
  std::vector<Row> rows;
  rows.push_back(*Evaluate("discover", Ratio(AtLeast(0.85)), Rounds({95}, {100})));
  rows.push_back({.name = "batch", .metric = "a \"quoted\" name", .value = 7, .unit = "1/s"});
  google::protobuf::ListValue list;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(ToJson(rows), &list).ok());
  ASSERT_EQ(list.values_size(), 2);
  const auto& first = list.values(0).struct_value().fields();
  EXPECT_EQ(first.size(), 9U);
  EXPECT_EQ(first.at("name").string_value(), "discover");
  EXPECT_EQ(first.at("yardstick").string_value(), "empty");
  EXPECT_DOUBLE_EQ(first.at("yardstick_value").number_value(), 100);
  EXPECT_DOUBLE_EQ(first.at("ratio").number_value(), 0.95);
  EXPECT_EQ(first.at("goal").string_value(), ">=0.85");
  EXPECT_EQ(first.at("verdict").string_value(), "holds");
  const auto& second = list.values(1).struct_value().fields();
  EXPECT_EQ(second.size(), 9U);
  EXPECT_EQ(second.at("metric").string_value(), "a \"quoted\" name");
  EXPECT_TRUE(second.at("yardstick").has_null_value());
  EXPECT_TRUE(second.at("goal").has_null_value());
  EXPECT_EQ(second.at("verdict").string_value(), "no goal");
}

TEST(ReportTest, TheTableShowsGoalAndVerdict) {
  std::ostringstream out;
  WriteTable(out, {*Evaluate("discover", Ratio(AtLeast(0.85)), Rounds({70}, {100}))});
  EXPECT_THAT(out.str(), HasSubstr(">=0.85"));
  EXPECT_THAT(out.str(), HasSubstr("short"));
}

TEST(ReportTest, GoalsAreWrittenInFull) {
  std::ostringstream out;
  WriteTable(out, {{.name = "heartbeat", .metric = "renewals", .goal = AtLeast(2'000'000)}});
  EXPECT_THAT(out.str(), HasSubstr(">=2000000"));
}

}  // namespace
}  // namespace muster::bench

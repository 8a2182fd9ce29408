#include "tests/bench/soak/judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <sstream>

namespace muster::bench {
namespace {

constexpr Bounds kBounds{.settled = absl::Minutes(5), .disk_bytes = 300};

// Two a minute, all flat, with `change` made to each.
std::vector<Sample> Samples(int count, const std::function<void(int, Sample&)>& change) {
  std::vector<Sample> out;
  for (int i = 1; i <= count; ++i) {
    Sample sample{.at = absl::Seconds(30) * i,
                  .resident_bytes = 1000,
                  .descriptors = 100,
                  .disk_bytes = 200,
                  .register_times_bare = 1.5,
                  .discover_times_empty = 1.25};
    change(i, sample);
    out.push_back(sample);
  }
  return out;
}

std::vector<std::string> Grown(const std::vector<Sample>& samples) {
  std::vector<std::string> out;
  for (const Finding& finding : Judge(samples, kBounds)) {
    if (finding.grew) out.push_back(finding.what);
  }
  return out;
}

TEST(SoakJudgeTest, NothingGrows) {
  const auto samples = Samples(60, [](int, Sample&) {});
  EXPECT_EQ(Judge(samples, kBounds).size(), 5U);
  EXPECT_THAT(Grown(samples), testing::IsEmpty());
}

TEST(SoakJudgeTest, SlowGrowthIsFound) {
  // 10 % over the 25 minutes that count.
  const auto samples = Samples(60, [](int i, Sample& s) { s.resident_bytes += (i - 10) * 2; });
  EXPECT_THAT(Grown(samples), testing::ElementsAre("memory, B"));
}

TEST(SoakJudgeTest, EachIsJudged) {
  EXPECT_THAT(Grown(Samples(60, [](int i, Sample& s) { s.descriptors += i; })),
              testing::ElementsAre("descriptors"));
  EXPECT_THAT(Grown(Samples(60, [](int i, Sample& s) { s.register_times_bare += 0.005 * i; })),
              testing::ElementsAre("latency of Register alone, times bare"));
  EXPECT_THAT(Grown(Samples(60, [](int i, Sample& s) { s.discover_times_empty += 0.005 * i; })),
              testing::ElementsAre("latency of Discover alone, times empty"));
}

TEST(SoakJudgeTest, WithoutAYardstickNothingHolds) {
  EXPECT_THAT(Grown(Samples(60, [](int, Sample& s) { s.discover_times_empty = std::nan(""); })),
              testing::ElementsAre("latency of Discover alone, times empty"));
}

TEST(SoakJudgeTest, ASlowMachineUnderLoadIsNoGrowth) {
  const auto slower = [](int i, Sample& s) {
    s.register_p50_us = 900 + 20 * i;
    s.discover_p50_us = 300 + 10 * i;
  };
  EXPECT_THAT(Grown(Samples(60, slower)), testing::IsEmpty());
}

TEST(SoakJudgeTest, WhatGrowsWhileItSettlesDoesNotCount) {
  const auto samples =
      Samples(60, [](int i, Sample& s) { s.resident_bytes = i <= 10 ? 100 * i : 1000; });
  EXPECT_THAT(Grown(samples), testing::IsEmpty());
}

TEST(SoakJudgeTest, SinglePeaksDoNotCountButOnDisk) {
  const auto samples = Samples(60, [](int i, Sample& s) {
    if (i % 20 != 0) return;
    s.resident_bytes = s.register_times_bare = 5000;
    s.disk_bytes = 301;
  });
  EXPECT_THAT(Grown(samples), testing::ElementsAre("data directory, B, bound and highest"));
}

TEST(SoakJudgeTest, TooFewSamplesFindNothing) {
  EXPECT_THAT(Judge(Samples(12, [](int, Sample&) {}), kBounds), testing::IsEmpty());
  EXPECT_THAT(Judge(Samples(13, [](int, Sample&) {}), kBounds), testing::SizeIs(5));
}

TEST(SoakJudgeTest, FindingsSayWhatGrew) {
  std::ostringstream out;
  WriteFindings(out, Judge(Samples(60,
                                   [](int i, Sample& s) {
                                     s.descriptors += i;
                                     s.disk_bytes = 123'456'789;
                                   }),
                           kBounds));
  EXPECT_THAT(out.str(), testing::ContainsRegex("descriptors +118.5 -> +152.5 +\\+28.7 %  GREW"));
  EXPECT_THAT(out.str(), testing::ContainsRegex("memory, B +1000 -> +1000 +\\+0.0 %  holds"));
  EXPECT_THAT(out.str(), testing::HasSubstr(" 123456789 "));
}

}  // namespace
}  // namespace muster::bench

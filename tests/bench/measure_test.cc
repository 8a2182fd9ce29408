#include "tests/bench/measure.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace muster::bench {
namespace {

// Two contestants that write down what is done with them.
struct Starts {
  std::vector<std::string> log;
  absl::StatusOr<std::vector<Contestant>> Start() {
    log.emplace_back("start");
    const auto named = [this](const std::string& name) {
      return Contestant{name, [this, name]() -> absl::StatusOr<Readings> {
                          log.push_back(name);
                          return Readings{};
                        }};
    };
    return std::vector<Contestant>{named("a"), named("b")};
  }
};

TEST(RenewedTest, StartsAndWarmsUpAnewAfterSoManyRounds) {
  Starts starts;
  const auto contestants = Renewed::Make([&] { return starts.Start(); }, 2);
  ASSERT_TRUE(contestants.ok());
  ASSERT_EQ(contestants->size(), 2u);
  EXPECT_EQ(contestants->front().name, "a");
  EXPECT_EQ(starts.log, (std::vector<std::string>{"start", "a", "b"}));
  starts.log.clear();
  // The second of them may be the first of a round.
  for (const size_t place : {0u, 1u, 1u, 0u, 1u, 0u}) {
    ASSERT_TRUE((*contestants)[place].round().ok());
  }
  EXPECT_EQ(starts.log,
            (std::vector<std::string>{"a", "b", "b", "a", "start", "a", "b", "b", "a"}));
}

TEST(RenewedTest, WhatCannotStartIsAnError) {
  int starts = 0;
  const auto start = [&]() -> absl::StatusOr<std::vector<Contestant>> {
    if (++starts == 2) return absl::UnavailableError("no port");
    return std::vector<Contestant>{{"a", [] { return absl::StatusOr<Readings>(Readings{}); }}};
  };
  const auto contestants = Renewed::Make(start, 1);
  ASSERT_TRUE(contestants.ok());
  EXPECT_TRUE(contestants->front().round().ok());
  EXPECT_EQ(contestants->front().round().status().message(), "no port");
  EXPECT_FALSE(Renewed::Make([] { return absl::UnavailableError("no port"); }, 1).ok());
}

}  // namespace
}  // namespace muster::bench

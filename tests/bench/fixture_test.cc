#include "tests/bench/fixture.h"

#include <gtest/gtest.h>

namespace muster::bench {
namespace {

TEST(FixtureTest, IsAsPublished) {
  const v1::Instance instance = MakeInstance(1'234'567, 100'000);
  EXPECT_EQ(instance.tags_size(), 3);
  EXPECT_EQ(instance.metadata_size(), 4);
  EXPECT_EQ(instance.checks_size(), 1);
  EXPECT_NE(instance.port(), 0U);
  EXPECT_GE(instance.ByteSizeLong(), 320U);
  EXPECT_LE(instance.ByteSizeLong(), 340U);
}

TEST(FixtureTest, AllAreAsLongAndDifferent) {
  const auto first = MakeRegister(0, 100'000);
  const auto last = MakeRegister(kMaxInstances - 1, 100'000);
  EXPECT_EQ(first.ByteSizeLong(), last.ByteSizeLong());
  EXPECT_NE(first.instance().id(), last.instance().id());
  EXPECT_NE(first.instance().address(), last.instance().address());
  EXPECT_EQ(MakeInstance(100'007, 100'000).service(), ServiceName(7));
}

TEST(NumberedBytesTest, AreAsIfEncodedAnew) {
  const NumberedBytes bytes(MakeRegister(0, 1'000).SerializeAsString(), 1'000);
  for (const size_t number : {size_t{0}, size_t{7}, size_t{123'456}, kMaxInstances - 1}) {
    v1::RegisterRequest parsed;
    ASSERT_TRUE(parsed.ParseFromString(bytes.For(number)));
    // Not byte by byte: a map's order on the wire isn't fixed.
    EXPECT_EQ(parsed.DebugString(), MakeRegister(number, 1'000).DebugString());
  }
}

TEST(NumberedBytesTest, EachOccurrenceIsReplaced) {
  const NumberedBytes bytes(ServiceName(0) + "/" + InstanceId(0) + ServiceName(0), 10);
  EXPECT_EQ(bytes.For(25), ServiceName(5) + "/" + InstanceId(25) + ServiceName(5));
}

TEST(UpdatesTest, EachIsAChangeOfTheSameInstances) {
  Updates updates(5, 2, 3);
  std::vector<v1::RegisterRequest> seen;
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(seen.emplace_back().ParseFromString(updates.Next()));
    const size_t number = 5 + static_cast<size_t>(i % 2);
    EXPECT_EQ(seen.back().instance().id(), InstanceId(number));
    EXPECT_EQ(seen.back().instance().service(), ServiceName(number % 3));
    EXPECT_NE(seen.back().instance().version(), MakeInstance(0, 1).version());
    EXPECT_EQ(seen.back().ByteSizeLong(), MakeRegister(0, 3).ByteSizeLong());
    if (i < 2) continue;
    EXPECT_NE(seen.back().instance().version(), seen[i - 2].instance().version());
  }
}

}  // namespace
}  // namespace muster::bench

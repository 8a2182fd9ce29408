#include "server/health/target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace muster::health {
namespace {

using testing::HasSubstr;

const InstanceTarget kInstance{"10.0.0.7", 8080};

TEST(TargetTest, WithoutTextItIsTheInstance) {
  const auto target = ParseTarget("", kInstance);
  ASSERT_TRUE(target.ok());
  EXPECT_EQ(target->host, "10.0.0.7");
  EXPECT_EQ(target->port, 8080);
  EXPECT_FALSE(target->tls);
}

TEST(TargetTest, ATextIsTaken) {
  const auto target = ParseTarget("[fd00::1]:443", kInstance);
  ASSERT_TRUE(target.ok());
  EXPECT_EQ(target->host, "fd00::1");
  EXPECT_EQ(target->port, 443);
}

TEST(TargetTest, WhatCannotBeConnectedToIsRefused) {
  EXPECT_THAT(ParseTarget("", {"10.0.0.7", 0}).status().message(), HasSubstr("no port"));
  EXPECT_THAT(ParseTarget("db:0", kInstance).status().message(), HasSubstr("port 0"));
  for (const std::string bad :
       {"db", ":80", "a b:80", "db:99999", "-x-:80", "db\r\n:80", "a/b:80"}) {
    EXPECT_EQ(ParseTarget(bad, kInstance).status().code(), absl::StatusCode::kInvalidArgument)
        << bad;
  }
}

TEST(TargetTest, TheCertificatesNameIsTheHostUnlessGiven) {
  Target target = *ParseTarget("db.example.:443", kInstance);
  ASSERT_TRUE(SetTls(target, true, "").ok());
  EXPECT_TRUE(target.tls);
  EXPECT_TRUE(target.skip_verify);
  EXPECT_EQ(target.server_name, "db.example");
  ASSERT_TRUE(SetTls(target, false, "other.example").ok());
  EXPECT_EQ(target.server_name, "other.example");
  EXPECT_FALSE(target.skip_verify);
  for (const std::string bad : {"a b", "x\r\ny", ".", "-"}) {
    EXPECT_EQ(SetTls(target, false, bad).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(TargetTest, UnsetTimesGetTheirDefaults) {
  v1::Check check;
  EXPECT_EQ(IntervalOf(check), absl::Seconds(10));
  EXPECT_EQ(TimeoutOf(check), absl::Seconds(5));
  check.mutable_failing_interval()->set_seconds(4);
  EXPECT_EQ(TimeoutOf(check), absl::Seconds(4));
  check.mutable_interval()->set_seconds(3);
  EXPECT_EQ(IntervalOf(check), absl::Seconds(3));
  EXPECT_EQ(TimeoutOf(check), absl::Seconds(3));
  check.mutable_timeout()->set_nanos(1'000'000);
  EXPECT_EQ(TimeoutOf(check), absl::Milliseconds(1));
}

}  // namespace
}  // namespace muster::health

#include "server/health/grpc_answer.h"

#include <gtest/gtest.h>

#include <string>

namespace muster::health {
namespace {

using Outcome = ProbeResult::Outcome;

// As gRPC reports what it didn't get from the target.
ProbeResult Failed(const std::string& why, const std::string& peer = "10.0.0.7:80") {
  const std::string message =
      "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.7:80: " + why;
  return JudgeFailure({{grpc::StatusCode::UNAVAILABLE, message}, false}, "", peer);
}

TEST(GrpcAnswerTest, NobodyThereIsNotReached) {
  const ProbeResult refused = Failed("Failed to connect to remote host: Connection refused");
  EXPECT_EQ(refused.output, "connection refused by 10.0.0.7:80");
  EXPECT_FALSE(refused.reached);
  for (const std::string why : {"No route to host", "Network is unreachable", "Host is down",
                                "Connection timed out", "Network is down"}) {
    const ProbeResult result = Failed("Failed to connect to remote host: " + why);
    EXPECT_EQ(result.outcome, Outcome::kFailing) << why;
    EXPECT_FALSE(result.reached) << why;
    EXPECT_EQ(result.output,
              "no gRPC answer from 10.0.0.7:80: Failed to connect to remote host: " + why);
  }
}

TEST(GrpcAnswerTest, WhoeverDidSomethingIsReached) {
  for (const std::string why : {"Trying to connect an http1.x server", "Socket closed",
                                "Failed parsing HTTP/2", "recvmsg:Connection reset by peer"}) {
    const ProbeResult result = Failed(why);
    EXPECT_EQ(result.outcome, Outcome::kFailing) << why;
    EXPECT_TRUE(result.reached) << why;
    EXPECT_EQ(result.output, "no gRPC answer from 10.0.0.7:80: " + why);
  }
}

TEST(GrpcAnswerTest, WhatThisServerLacksIsNotTheTargetsFault) {
  for (const std::string why : {"socket: Too many open files", "Cannot allocate memory",
                                "Cannot assign requested address"}) {
    EXPECT_EQ(Failed(why).outcome, Outcome::kNotRun) << why;
    EXPECT_FALSE(Failed(why).reached) << why;
  }
  const ProbeResult no_ipv6 = Failed("Cannot assign requested address", "[::1]:80");
  EXPECT_EQ(no_ipv6.outcome, Outcome::kFailing);
  EXPECT_FALSE(no_ipv6.reached);
}

TEST(GrpcAnswerTest, AStatusOfTheTargetIsNamed) {
  const auto answered = [](grpc::StatusCode code, const std::string& message) {
    return JudgeFailure({{code, message}, true}, "shop", "10.0.0.7:80");
  };
  EXPECT_EQ(answered(grpc::StatusCode::NOT_FOUND, "").output,
            "service \"shop\" is NOT_FOUND by 10.0.0.7:80");
  EXPECT_EQ(answered(grpc::StatusCode::UNIMPLEMENTED, "").output,
            "10.0.0.7:80 doesn't offer grpc.health.v1.Health: UNIMPLEMENTED");
  EXPECT_EQ(answered(grpc::StatusCode::PERMISSION_DENIED, "no\xFF").output,
            "10.0.0.7:80 answered PERMISSION_DENIED: no\xEF\xBF\xBD");
  EXPECT_EQ(answered(static_cast<grpc::StatusCode>(20), "").output,
            "10.0.0.7:80 answered a status that isn't known");
  EXPECT_TRUE(answered(grpc::StatusCode::UNAVAILABLE, "Connection refused").reached);
}

}  // namespace
}  // namespace muster::health

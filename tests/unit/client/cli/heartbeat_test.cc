#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_server.h"

namespace muster::cli {
namespace {

using testing::FakeServer;
using ::testing::HasSubstr;
using testing::Ok;
using testing::Ran;
using testing::Recorder;
using testing::RunAt;
using Outcome = v1::HeartbeatResponse;

// Odd handles are renewed; 2 is unknown, 4 stale. Leases by key are renewed.
class HeartbeatTest : public ::testing::Test {
 protected:
  HeartbeatTest() {
    server_.registry.heartbeat = [this](const auto& request, auto* response, int64_t) {
      requests_.Add(request);
      for (const uint64_t handle : request.lease_handles()) {
        Answer(response, handle % 2 == 1 ? Outcome::RENEWED
                         : handle == 2   ? Outcome::UNKNOWN
                                         : Outcome::STALE);
      }
      for (int i = 0; i < request.leases_size(); ++i) Answer(response, Outcome::RENEWED);
      return Ok();
    };
  }

  static void Answer(v1::HeartbeatResponse* response, Outcome::Outcome outcome) {
    response->add_outcomes(outcome);
    response->add_remaining_ms(outcome == Outcome::RENEWED ? 30'000 : 0);
  }

  Recorder<v1::HeartbeatRequest> requests_;
  FakeServer server_;
};

TEST_F(HeartbeatTest, ByHandle) {
  const Ran ran = RunAt(server_, {"heartbeat", "1", "3"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out,
            "LEASE  OUTCOME  REMAINING\n"
            "1      renewed  30s\n"
            "3      renewed  30s\n");
}

TEST_F(HeartbeatTest, ByKey) {
  EXPECT_EQ(RunAt(server_, {"heartbeat", "web", "7", "--node", "n1", "--incarnation", "5"}).code,
            0);
  EXPECT_EQ(RunAt(server_, {"heartbeat", "web", "7"}).code, 0);
  // A service whose name is a number.
  EXPECT_EQ(RunAt(server_, {"heartbeat", "8", "7", "--namespace", "default"}).code, 0);
  const auto all = requests_.All();
  ASSERT_EQ(all.size(), 3u);
  for (const auto& request : all) {
    EXPECT_EQ(request.lease_handles_size(), 0);
    ASSERT_EQ(request.leases_size(), 1);
    EXPECT_EQ(request.leases(0).key().id(), "7");
  }
  EXPECT_EQ(all[0].leases(0).incarnation(), 5u);
  EXPECT_EQ(all[0].leases(0).key().node(), "n1");
  EXPECT_EQ(all[1].leases(0).incarnation(), 0u);
  EXPECT_EQ(all[2].leases(0).key().service(), "8");
}

TEST_F(HeartbeatTest, WhatIsNotRenewedIsAFailure) {
  const Ran ran = RunAt(server_, {"heartbeat", "1", "2", "4"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.out, HasSubstr("2      unknown: register again          -"));
  EXPECT_THAT(ran.out, HasSubstr("4      stale: a newer life has the key  -"));
  EXPECT_EQ(ran.err, "muster: 2 of 3 leases not renewed\n");
  const Ran json = RunAt(server_, {"-o", "json", "heartbeat", "1", "2"});
  EXPECT_EQ(json.code, 1);
  EXPECT_EQ(json.out, "{\"outcomes\":[\"RENEWED\",\"UNKNOWN\"],\"remainingMs\":[30000,0]}\n");
}

TEST(HeartbeatAnswerTest, HasToBeComplete) {
  FakeServer server;
  server.registry.heartbeat = [](const auto&, auto*, int64_t) { return Ok(); };
  const Ran ran = RunAt(server, {"heartbeat", "1"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.err, "muster: the server gave 0 outcomes for 1 lease\n");
}

}  // namespace
}  // namespace muster::cli

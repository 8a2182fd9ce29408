// register, once and with the lease kept.
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
using testing::Refused;
using testing::RunAt;
using testing::SendInterrupt;
using Outcome = v1::HeartbeatResponse;

// A lease of 600 ms, so that heartbeats come soon.
grpc::Status Registered(const v1::RegisterRequest& request, v1::RegisterResponse* response) {
  response->mutable_key()->set_namespace_("default");
  response->mutable_key()->set_service(request.instance().service());
  response->mutable_key()->set_id("web-1");
  response->set_incarnation(7);
  response->set_lease_handle(7);
  response->set_changed(true);
  response->mutable_ttl()->set_nanos(600'000'000);
  response->mutable_heartbeat_interval()->set_nanos(200'000'000);
  return Ok();
}

class RegisterTest : public ::testing::Test {
 protected:
  RegisterTest() {
    server_.registry.register_ = [this](const auto& request, auto* response) {
      registers_.Add(request);
      return Registered(request, response);
    };
    server_.registry.deregister = [this](const auto& request, auto*) {
      deregisters_.Add(request);
      return Ok();
    };
  }

  Recorder<v1::RegisterRequest> registers_;
  Recorder<v1::DeregisterRequest> deregisters_;
  Recorder<int64_t> beats_;
  FakeServer server_;
};

TEST_F(RegisterTest, Once) {
  const Ran ran = RunAt(server_, {"register", "web", "10.0.0.1:80", "--tag", "a", "--ttl", "30s"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "registered default/web id web-1 incarnation 7 ttl 600ms\n");
  ASSERT_EQ(registers_.All().size(), 1u);
  EXPECT_EQ(registers_.All()[0].instance().port(), 80u);
  EXPECT_EQ(registers_.All()[0].ttl().seconds(), 30);
  EXPECT_EQ(registers_.All()[0].life_id(), "");
  EXPECT_THAT(RunAt(server_, {"-o", "json", "register", "web"}).out,
              HasSubstr("\"leaseHandle\":\"7\""));
}

TEST_F(RegisterTest, AKeptLeaseIsLeftOnASignal) {
  server_.registry.heartbeat = [&](const auto& request, auto* response, int64_t patience_ms) {
    EXPECT_EQ(request.lease_handles(0), 7u);
    response->add_outcomes(Outcome::RENEWED);
    if (beats_.Add(patience_ms) == 2) SendInterrupt();
    return Ok();
  };
  const Ran ran = RunAt(server_, {"register", "web", "--keepalive"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.err, "");
  ASSERT_EQ(deregisters_.All().size(), 1u);
  EXPECT_EQ(deregisters_.All()[0].incarnation(), 7u);
  // Not the 10 s of --timeout: a server that hangs must not eat the lease.
  for (const int64_t patience_ms : beats_.All()) EXPECT_LE(patience_ms, 1000);
}

TEST_F(RegisterTest, AKeptLeaseWaitsForTheServerOnce) {
  server_.registry.register_ = [this](const auto& request, auto* response) {
    if (registers_.Add(request) < 3) {
      return Refused(grpc::StatusCode::UNAVAILABLE, "LOADING", "loading");
    }
    SendInterrupt();
    return Registered(request, response);
  };
  const Ran ran = RunAt(server_, {"register", "web", "--keepalive"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.err,
            "muster: " + server_.address() + ": UNAVAILABLE (LOADING): loading; trying again\n");
  const auto all = registers_.All();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].life_id().size(), 16u);
  EXPECT_EQ(all[0].life_id(), all[2].life_id());
}

TEST_F(RegisterTest, WithoutKeepaliveAServerThatIsAwayIsAFailure) {
  server_.registry.register_ = [this](const auto& request, auto*) {
    registers_.Add(request);
    return Refused(grpc::StatusCode::UNAVAILABLE, "LOADING", "loading");
  };
  EXPECT_EQ(RunAt(server_, {"register", "web"}).code, 1);
  EXPECT_EQ(registers_.All().size(), 1u);
}

TEST_F(RegisterTest, ALostLeaseIsRegisteredAgainWithTheSameLife) {
  server_.registry.heartbeat = [&](const auto&, auto* response, int64_t) {
    const size_t beat = beats_.Add(0);
    response->add_outcomes(beat == 1 ? Outcome::UNKNOWN : Outcome::RENEWED);
    if (beat == 2) SendInterrupt();
    return Ok();
  };
  const Ran ran = RunAt(server_, {"register", "web", "--keepalive"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.err, "muster: registered again\n");
  const auto all = registers_.All();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].SerializeAsString(), all[1].SerializeAsString());
}

TEST_F(RegisterTest, ANewerLifeEndsIt) {
  server_.registry.heartbeat = [](const auto&, auto* response, int64_t) {
    response->add_outcomes(Outcome::STALE);
    return Ok();
  };
  const Ran ran = RunAt(server_, {"register", "web", "--keepalive"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("a newer life has registered under this key; stopping"));
  EXPECT_TRUE(deregisters_.All().empty());
}

}  // namespace
}  // namespace muster::cli

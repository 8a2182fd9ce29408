// check add, check remove, and checks that a registration brings.
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

class ChecksTest : public ::testing::Test {
 protected:
  ChecksTest() {
    server_.registry.add_check = [this](const auto& request, auto* response) {
      added_.Add(request);
      response->mutable_revision()->set_seq(5);
      return Ok();
    };
    server_.registry.remove_check = [this](const auto& request, auto* response) {
      removed_.Add(request);
      response->mutable_revision()->set_seq(6);
      return Ok();
    };
    server_.registry.register_ = [this](const auto& request, auto* response) {
      registered_.Add(request);
      response->mutable_key()->set_id("web-1");
      return Ok();
    };
  }

  Recorder<v1::AddCheckRequest> added_;
  Recorder<v1::RemoveCheckRequest> removed_;
  Recorder<v1::RegisterRequest> registered_;
  FakeServer server_;
};

TEST_F(ChecksTest, Add) {
  const Ran ran =
      RunAt(server_, {"check", "add", "web", "web-1", "http:/health,id=health,interval=5s"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "default/web id web-1 has the check health\n");
  const v1::AddCheckRequest request = added_.All().at(0);
  EXPECT_EQ(request.key().namespace_(), "default");
  EXPECT_EQ(request.key().service(), "web");
  EXPECT_EQ(request.key().node(), "");
  EXPECT_EQ(request.key().id(), "web-1");
  EXPECT_EQ(request.incarnation(), 0u);
  EXPECT_EQ(request.check().id(), "health");
  EXPECT_EQ(request.check().http().url(), "/health");
  EXPECT_EQ(request.check().interval().seconds(), 5);
}

TEST_F(ChecksTest, AddSendsAllThatIsGiven) {
  const Ran ran = RunAt(server_, {"-o", "json", "check", "add", "web", "web-1", "ttl:30s,id=main",
                                  "--node", "n1", "--namespace", "shop", "--incarnation", "42"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "{\"revision\":{\"seq\":\"5\"}}\n");
  const v1::AddCheckRequest request = added_.All().at(0);
  EXPECT_EQ(request.key().namespace_(), "shop");
  EXPECT_EQ(request.key().node(), "n1");
  EXPECT_EQ(request.incarnation(), 42u);
  EXPECT_EQ(request.check().ttl().ttl().seconds(), 30);
}

TEST_F(ChecksTest, Remove) {
  const Ran ran = RunAt(server_, {"check", "remove", "web", "web-1", "health", "--node", "n1"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "default/web node n1 id web-1 no longer has the check health\n");
  EXPECT_EQ(removed_.All().at(0).key().node(), "n1");
  EXPECT_EQ(removed_.All().at(0).check_id(), "health");
}

TEST_F(ChecksTest, WrongUsageSaysWhatIsAllowedAndCallsNobody) {
  EXPECT_EQ(RunAt(server_, {"check", "ad", "web", "web-1", "tcp,id=a"}).err,
            "muster: check: no action \"ad\"; did you mean 'add'?\n");
  EXPECT_EQ(RunAt(server_, {"check", "list", "web", "web-1", "x"}).err,
            "muster: check: no action \"list\"; allowed: add, remove; see muster check --help\n");
  EXPECT_EQ(
      RunAt(server_, {"check", "add", "web", "web-1", "tcp"}).err,
      "muster: check \"tcp\": it has no id; give one as in http:/health,id=health; see muster "
      "check --help\n");
  const Ran ran = RunAt(server_, {"check", "add", "web", "web-1", "tcp,id=a,intervall=3s"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_EQ(ran.err,
            "muster: check \"tcp,id=a,intervall=3s\": no key \"intervall\"; did you mean "
            "'interval'?\n");
  EXPECT_TRUE(added_.All().empty());
}

TEST_F(ChecksTest, RefusalsAreFailures) {
  server_.registry.remove_check = [](const auto&, auto*) {
    return Refused(grpc::StatusCode::NOT_FOUND, "CHECK_NOT_FOUND", "no such check");
  };
  const Ran check = RunAt(server_, {"check", "remove", "web", "web-1", "x"});
  EXPECT_EQ(check.code, 1);
  EXPECT_THAT(check.err, ::testing::EndsWith("no such check\n"));
  server_.registry.add_check = [](const auto&, auto*) {
    return Refused(grpc::StatusCode::NOT_FOUND, "INSTANCE_NOT_FOUND", "no such \x1b[31minstance");
  };
  const Ran instance = RunAt(server_, {"check", "add", "web", "web-1", "tcp,id=x"});
  EXPECT_EQ(instance.code, 1);
  EXPECT_THAT(instance.err,
              HasSubstr("no such \\x1b[31minstance; an instance that has a node needs --node"));
}

TEST_F(ChecksTest, WhatIsPrintedOfThemIsEscaped) {
  const Ran ran = RunAt(server_, {"check", "remove", "web", "a\x1b[1m", "b\x1b[2m\n"});
  EXPECT_EQ(ran.out, "default/web id a\\x1b[1m no longer has the check b\\x1b[2m\\x0a\n");
}

TEST_F(ChecksTest, ARegistrationBringsProbes) {
  const Ran ran = RunAt(server_, {"register", "web:80", "--check-ttl", "main=10s", "--probe",
                                  "http:/health,contains=a\\,b", "--probe", "tcp,id=port"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  const v1::Instance instance = registered_.All().at(0).instance();
  ASSERT_EQ(instance.checks_size(), 3);
  EXPECT_EQ(instance.checks(0).ttl().ttl().seconds(), 10);
  EXPECT_EQ(instance.checks(1).http().body_contains(), "a,b");
  EXPECT_EQ(instance.checks(1).id(), "");
  EXPECT_EQ(instance.checks(2).id(), "port");
  EXPECT_EQ(RunAt(server_, {"register", "web", "--probe", "ttl:30s"}).err,
            "muster: check \"ttl:30s\": no server runs a ttl check; allowed: http, tcp, grpc, and "
            "--check-ttl ID=30s for that; see muster register --help\n");
  EXPECT_EQ(registered_.All().size(), 1u);
}

}  // namespace
}  // namespace muster::cli

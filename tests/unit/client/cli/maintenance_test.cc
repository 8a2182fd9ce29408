// maintenance: of an instance, and of a node.
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

class MaintenanceTest : public ::testing::Test {
 protected:
  MaintenanceTest() {
    server_.registry.set_maintenance = [this](const auto& request, auto* response) {
      calls_.Add(request);
      response->mutable_revision()->set_seq(7);
      return Ok();
    };
    server_.discovery.describe = [](const auto& request, auto*) {
      if (request.key().id() == "web-1") return Ok();
      return Refused(grpc::StatusCode::NOT_FOUND, "INSTANCE_NOT_FOUND", "no such instance");
    };
  }

  Recorder<v1::SetMaintenanceRequest> calls_;
  FakeServer server_;
};

TEST_F(MaintenanceTest, OfAnInstance) {
  const Ran ran = RunAt(server_, {"maintenance", "on", "web", "web-1", "--node", "n1",
                                  "--namespace", "shop", "--reason", "new disk"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "maintenance of shop/web node n1 id web-1 is on\n");
  EXPECT_EQ(ran.err, "");
  const v1::SetMaintenanceRequest request = calls_.All().at(0);
  EXPECT_EQ(request.key().namespace_(), "shop");
  EXPECT_EQ(request.key().service(), "web");
  EXPECT_EQ(request.key().node(), "n1");
  EXPECT_EQ(request.key().id(), "web-1");
  EXPECT_TRUE(request.on());
  EXPECT_EQ(request.reason(), "new disk");
  EXPECT_EQ(RunAt(server_, {"maintenance", "off", "web", "web-1"}).out,
            "maintenance of default/web id web-1 is off\n");
  EXPECT_FALSE(calls_.All().at(1).on());
  EXPECT_EQ(RunAt(server_, {"-o", "json", "maintenance", "off", "web", "web-1"}).out,
            "{\"revision\":{\"seq\":\"7\"}}\n");
}

TEST_F(MaintenanceTest, OfANode) {
  const Ran ran = RunAt(server_, {"maintenance", "on", "--node", "n\x1b[2J"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "maintenance of default node n\\x1b[2J is on\n");
  const v1::SetMaintenanceRequest request = calls_.All().at(0);
  EXPECT_FALSE(request.has_key());
  EXPECT_EQ(request.node().namespace_(), "default");
  EXPECT_EQ(request.node().node(), "n\x1b[2J");
}

TEST_F(MaintenanceTest, WhatIsNotRegisteredIsToldOf) {
  Ran ran = RunAt(server_, {"maintenance", "on", "web", "web-9"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.out, "maintenance of default/web id web-9 is on\n");
  EXPECT_EQ(ran.err,
            "muster: no such instance is registered now; one that has a node needs --node\n");
  ran = RunAt(server_, {"maintenance", "on", "web", "web-9", "--node", "n1"});
  EXPECT_EQ(ran.err, "muster: no such instance is registered now\n");
}

TEST_F(MaintenanceTest, ThatTheNodeKeepsItOutIsToldOf) {
  server_.discovery.describe = [](const auto&, auto* response) {
    response->mutable_maintenance()->set_node(true);
    return Ok();
  };
  EXPECT_EQ(RunAt(server_, {"maintenance", "off", "web", "web-1", "--node", "n1"}).err,
            "muster: it stays out: all of its node is in maintenance, which ends with muster "
            "maintenance off --node n1 --namespace default\n");
  EXPECT_EQ(RunAt(server_, {"maintenance", "on", "web", "web-1", "--node", "n1"}).err, "");
}

TEST_F(MaintenanceTest, RefusalsAreFailures) {
  server_.registry.set_maintenance = [](const auto&, auto*) {
    return Refused(grpc::StatusCode::PERMISSION_DENIED, "RIGHT_MISSING", "no right to write");
  };
  const Ran ran = RunAt(server_, {"maintenance", "on", "web", "web-1"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.out, "");
  EXPECT_THAT(ran.err, HasSubstr("no right to write"));
}

}  // namespace
}  // namespace muster::cli

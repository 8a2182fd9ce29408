// status, leases, log-level and verify.
#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include "fake_server.h"

namespace muster::cli {
namespace {

using testing::FakeServer;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Ok;
using testing::Ran;
using testing::Recorder;
using testing::Refused;
using testing::RunAt;

grpc::Status FullStatus(const v1::StatusRequest&, v1::StatusResponse* response) {
  response->set_version("0.1.0");
  response->set_build("gcc 12");
  response->set_phase(v1::StatusResponse::SERVING);
  response->mutable_started_at()->set_seconds(60);
  response->mutable_uptime()->set_seconds(90);
  response->mutable_revision()->set_epoch(3);
  response->mutable_revision()->set_seq(44);
  response->set_instances(9);
  response->set_watch_streams(1);
  auto* limit = response->add_limits();
  limit->set_name("limits.instances");
  limit->set_used(90);
  limit->set_max(100);
  response->set_storage_engine("rocksdb");
  response->mutable_frozen_since()->set_seconds(120);
  response->set_frozen_reason("the disk is full");
  response->mutable_low_space_since()->set_seconds(60);
  response->set_low_space_reason("9 bytes are free");
  response->add_warnings("two instances share 10.0.0.1:80");
  return Ok();
}

TEST(StatusTest, IsASheet) {
  FakeServer server;
  server.admin.status = FullStatus;
  const Ran ran = RunAt(server, {"status"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "server            " + server.address() +
                         "\n"
                         "phase             serving\n"
                         "version           0.1.0\n"
                         "build             gcc 12\n"
                         "started           1970-01-01T00:01:00Z, 1m30s ago\n"
                         "revision          3:44\n"
                         "storage           rocksdb\n"
                         "services          0\n"
                         "instances         9\n"
                         "leases            0\n"
                         "tombstones        0\n"
                         "watches           1 stream, 0 subscriptions\n"
                         "limits.instances  90 of 100 (90%)\n"
                         "frozen            1970-01-01T00:02:00Z: the disk is full\n"
                         "low space         1970-01-01T00:01:00Z: 9 bytes are free\n"
                         "warning           two instances share 10.0.0.1:80\n");
}

TEST(StatusTest, HeldSetsAreShown) {
  FakeServer server;
  server.admin.status = [](const auto&, auto* response) {
    auto* held = response->add_held();
    held->set_namespace_("default");
    held->set_service("web");
    held->set_zone("z1");
    held->set_count(12);
    held->add_reasons(v1::Held::STORAGE_READ_ONLY);
    held->add_keys()->set_id("web-1");
    held->add_keys()->set_id("web-2");
    held->mutable_keys(1)->set_node("host-2");
    return Ok();
  };
  const Ran ran = RunAt(server, {"status"});
  EXPECT_THAT(ran.out,
              HasSubstr("default/web: 12 overdue endpoints are held in zone z1 since "
                        "1970-01-01T00:00:00Z: the store takes no writes: web-1, web-2 on host-2, "
                        "…\n"));
}

TEST(StatusTest, WhateverTheServerSaysIsEscaped) {
  const std::string wild = "x\x1b]0;\x07\r\n\xe2\x80\xae";
  FakeServer server;
  server.admin.status = [&](const auto&, auto* response) {
    response->set_version(wild);
    response->set_build(wild);
    response->add_limits()->set_name(wild);
    response->set_storage_engine(wild);
    response->mutable_frozen_since();
    response->set_frozen_reason(wild);
    response->add_held()->set_zone(wild);
    response->add_warnings(wild);
    return Ok();
  };
  const Ran ran = RunAt(server, {"status"});
  EXPECT_EQ(ran.code, 0);
  for (const char* raw : {"\x1b", "\x07", "\r", "\xe2"}) EXPECT_THAT(ran.out, Not(HasSubstr(raw)));
  EXPECT_THAT(ran.out, HasSubstr("\nx\\x1b]0;\\x07\\x0d\\x0a\\xe2\\x80\\xae "));
}

TEST(StatusTest, JsonAndErrors) {
  FakeServer server;
  server.admin.status = FullStatus;
  v1::StatusResponse response;
  const Ran ran = RunAt(server, {"status", "-o", "json"});
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(ran.out, &response).ok()) << ran.out;
  EXPECT_EQ(response.limits(0).used(), 90u);
  FakeServer bare;
  EXPECT_EQ(RunAt(bare, {"status"}).code, 1);
}

TEST(LeasesTest, FiltersPagesAndTable) {
  FakeServer server;
  Recorder<v1::ListLeasesRequest> requests;
  server.admin.list_leases = [&](const auto& request, auto* response) {
    const bool first = requests.Add(request) == 1;
    auto* lease = response->add_leases();
    lease->mutable_key()->set_namespace_("default");
    lease->mutable_key()->set_service("web");
    lease->mutable_key()->set_id(first ? "web-1" : "web-2");
    lease->set_incarnation(5);
    lease->set_permanent(!first);
    lease->mutable_ttl()->set_seconds(30);
    lease->mutable_remaining()->set_seconds(4);
    if (first) response->set_next_page_token("2");
    return Ok();
  };
  const Ran ran = RunAt(
      server, {"leases", "--namespace", "shop", "--service", "web", "--node", "n1", "--permanent"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out,
            "NAMESPACE  SERVICE  NODE  ID     INCARNATION  TTL        REMAINING\n"
            "default    web      -     web-1  5            30s        4s\n"
            "default    web      -     web-2  5            permanent  -\n");
  const auto all = requests.All();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[1].namespace_(), "shop");
  EXPECT_EQ(all[1].service(), "web");
  EXPECT_EQ(all[1].node(), "n1");
  EXPECT_TRUE(all[1].include_permanent());
  EXPECT_EQ(all[1].page_token(), "2");
}

TEST(LeasesTest, JsonEmptyAndErrors) {
  FakeServer server;
  server.admin.list_leases = [](const auto& request, auto*) {
    return request.service().empty()
               ? Ok()
               : Refused(grpc::StatusCode::PERMISSION_DENIED, "RIGHT_MISSING", "needs read");
  };
  EXPECT_EQ(RunAt(server, {"leases", "-o", "json"}).out, "{}\n");
  EXPECT_EQ(RunAt(server, {"leases"}).err, "muster: no leases\n");
  EXPECT_EQ(RunAt(server, {"leases", "--service", "web"}).code, 1);
}

TEST(LogLevelTest, IsChanged) {
  FakeServer server;
  server.admin.set_log_level = [](const auto& request, auto* response) {
    EXPECT_EQ(request.level(), "debug");
    response->set_previous("info");
    return Ok();
  };
  const Ran ran = RunAt(server, {"log-level", "debug"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "log level debug, was info\n");
  EXPECT_EQ(RunAt(server, {"-o", "json", "log-level", "debug"}).out, "{\"previous\":\"info\"}\n");
  FakeServer bare;
  EXPECT_EQ(RunAt(bare, {"log-level", "debug"}).code, 1);
}

TEST(VerifyTest, GoodAndBad) {
  FakeServer server;
  Recorder<int> calls;
  server.admin.verify = [&](const auto&, auto* response) {
    response->set_services_checked(2);
    response->set_instances_checked(1);
    response->mutable_revision()->set_seq(4);
    response->set_ok(calls.Add(0) == 1);
    if (!response->ok()) response->add_problems("lease 5 has no instance");
    return Ok();
  };
  const Ran good = RunAt(server, {"verify"});
  EXPECT_EQ(good.code, 0) << good.err;
  EXPECT_EQ(good.out, "checked 2 services, 1 instance, 0 leases at 0:4: ok\n");
  const Ran bad = RunAt(server, {"verify"});
  EXPECT_EQ(bad.code, 1);
  EXPECT_EQ(bad.err,
            "muster: lease 5 has no instance\n"
            "muster: the check found 1 problem\n");
  const Ran json = RunAt(server, {"verify", "-o", "json"});
  EXPECT_EQ(json.code, 1);
  EXPECT_THAT(json.out, HasSubstr("\"problems\":[\"lease 5 has no instance\"]"));
}

}  // namespace
}  // namespace muster::cli

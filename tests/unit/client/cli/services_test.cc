// services and describe.
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
using testing::SendInterrupt;

grpc::Status TwoPages(const v1::ListServicesRequest& request, v1::ListServicesResponse* response) {
  auto* service = response->add_services();
  service->set_namespace_("default");
  service->set_service(request.page_token().empty() ? "api" : "web");
  service->set_passing(3);
  service->set_critical(1);
  response->mutable_revision()->set_seq(8);
  if (request.page_token().empty()) response->set_next_page_token("api");
  return Ok();
}

TEST(ServicesTest, PagesAreOneTable) {
  FakeServer server;
  Recorder<v1::ListServicesRequest> requests;
  server.discovery.list_services = [&](const auto& request, auto* response) {
    requests.Add(request);
    return TwoPages(request, response);
  };
  const Ran ran = RunAt(server, {"services", "--namespace", "*", "--prefix", "a"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out,
            "NAMESPACE  SERVICE  PASSING  WARNING  CRITICAL  INACTIVE\n"
            "default    api      3        0        1         0\n"
            "default    web      3        0        1         0\n");
  ASSERT_EQ(requests.All().size(), 2u);
  EXPECT_EQ(requests.All()[1].namespace_(), "*");
  EXPECT_EQ(requests.All()[1].prefix(), "a");
  EXPECT_EQ(requests.All()[1].page_token(), "api");
}

TEST(ServicesTest, SettingsHaveAColumnWhenThereAreAny) {
  FakeServer server;
  server.discovery.list_services = [](const auto& request, auto* response) {
    if (!request.page_token().empty()) {
      auto* settings = response->add_services()->mutable_settings();
      settings->set_panic(false);
      settings->set_brake_share(0.25);
      settings->mutable_default_ttl()->set_seconds(90);
      return Ok();
    }
    return TwoPages(request, response);
  };
  EXPECT_EQ(RunAt(server, {"services"}).out,
            "NAMESPACE  SERVICE  PASSING  WARNING  CRITICAL  INACTIVE  SETTINGS\n"
            "default    api      3        0        1         0         -\n"
            "-          -        0        0        0         0         panic false, brake share "
            "0.25, default TTL 1m30s\n");
}

TEST(ServicesTest, JsonAndErrors) {
  FakeServer server;
  server.discovery.list_services = TwoPages;
  v1::ListServicesResponse all;
  const Ran ran = RunAt(server, {"services", "-o", "json"});
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(ran.out, &all).ok()) << ran.out;
  EXPECT_EQ(all.services_size(), 2);
  EXPECT_EQ(all.revision().seq(), 8u);

  FakeServer empty;
  empty.discovery.list_services = [](const auto&, auto*) { return Ok(); };
  const Ran none = RunAt(empty, {"services"});
  EXPECT_EQ(none.code, 0);
  EXPECT_EQ(none.out, "");
  EXPECT_EQ(none.err, "muster: no services\n");

  FakeServer loading;
  loading.discovery.list_services = [](const auto&, auto*) {
    return Refused(grpc::StatusCode::UNAVAILABLE, "LOADING", "loading");
  };
  const Ran refused = RunAt(loading, {"services"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err, HasSubstr("UNAVAILABLE (LOADING): loading"));
}

void AddName(google::protobuf::RepeatedPtrField<v1::ServiceName>* names, const std::string& name) {
  auto* added = names->Add();
  added->set_namespace_("default");
  added->set_service(name);
}

TEST(ServicesTest, NamesAreFollowedOverALoss) {
  FakeServer server;
  Recorder<int> streams;
  server.discovery.watch_services = [&](auto& writer) {
    const size_t count = streams.Add(0);
    if (count == 3) SendInterrupt();
    v1::WatchServicesResponse event;
    AddName(event.mutable_snapshot()->mutable_names(), count == 1 ? "api" : "db");
    writer.Write(event);
    event.mutable_snapshot()->mutable_names()->Clear();
    AddName(event.mutable_snapshot()->mutable_names(), "web");
    event.mutable_snapshot()->set_complete(true);
    writer.Write(event);
    event.Clear();
    AddName(event.mutable_change()->mutable_removed(), "web");
    AddName(event.mutable_change()->mutable_added(), "new" + std::to_string(count));
    writer.Write(event);
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going away");
  };
  const Ran ran = RunAt(server, {"services", "--watch"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_THAT(ran.out,
              ::testing::StartsWith("+ default/api\n+ default/web\n- default/web\n+ default/new1\n"
                                    "- default/api\n- default/new1\n+ default/db\n"));
}

TEST(ServicesTest, FollowingEndsWhenNobodyReads) {
  FakeServer server;
  server.discovery.watch_services = [](auto& writer) {
    v1::WatchServicesResponse event;
    AddName(event.mutable_snapshot()->mutable_names(), "api");
    event.mutable_snapshot()->set_complete(true);
    // Until the client is gone.
    while (writer.Write(event)) continue;
    return Ok();
  };
  const Ran ran = RunAt(server, {"services", "--watch"}, {.output_room = 3});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.err, "muster: standard output can't be written\n");
}

TEST(ServicesTest, FollowedNamesAsJson) {
  FakeServer server;
  Recorder<int> streams;
  server.discovery.watch_services = [&](auto& writer) {
    if (streams.Add(0) > 1) return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "no more");
    v1::WatchServicesResponse event;
    event.mutable_snapshot()->set_complete(true);
    writer.Write(event);
    return Ok();
  };
  const Ran ran = RunAt(server, {"services", "--watch", "-o", "json"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.out, "{\"snapshot\":{\"complete\":true}}\n");
  EXPECT_THAT(ran.err, HasSubstr("PERMISSION_DENIED: no more"));
}

grpc::Status Described(const v1::DescribeInstanceRequest& request,
                       v1::DescribeInstanceResponse* response) {
  if (request.key().service() != "web") {
    return Refused(grpc::StatusCode::NOT_FOUND, "INSTANCE_NOT_FOUND", "no such instance");
  }
  auto* instance = response->mutable_instance();
  instance->set_namespace_(request.key().namespace_());
  instance->set_service("web");
  instance->set_node(request.key().node());
  instance->set_id(request.key().id());
  instance->set_address("10.0.0.1");
  instance->set_port(80);
  (*instance->mutable_metadata())["k"] = "v";
  instance->mutable_locality()->set_zone("z1");
  response->mutable_endpoint()->set_health(v1::CRITICAL);
  response->mutable_endpoint()->set_state(v1::ACTIVE);
  response->set_incarnation(42);
  response->set_fenced(true);
  response->add_superseded(12);
  response->mutable_lease()->mutable_ttl()->set_seconds(30);
  response->mutable_lease()->mutable_remaining()->set_seconds(12);
  auto* check = response->add_checks();
  check->mutable_check()->set_id("main");
  check->mutable_check()->mutable_ttl()->mutable_ttl()->set_seconds(10);
  check->mutable_latest()->set_status(v1::CRITICAL);
  check->mutable_latest()->set_output("disk\nfull");
  return Ok();
}

TEST(DescribeTest, SaysEverything) {
  FakeServer server;
  server.discovery.describe = Described;
  const Ran ran =
      RunAt(server, {"describe", "web", "web-1", "--node", "n1", "--namespace", "shop"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out,
            "service       shop/web\n"
            "id            web-1\n"
            "node          n1\n"
            "address       10.0.0.1:80\n"
            "locality      /z1/\n"
            "metadata      k=v\n"
            "health        critical\n"
            "state         active\n"
            "lease         12s left of 30s\n"
            "incarnation   42 (fenced)\n"
            "replaced      12\n"
            "created       seq 0\n"
            "defined       seq 0\n"
            "last visible  seq 0\n"
            "\n"
            "CHECK  KIND     STATUS    HISTORY  SINCE  LAST  OUTPUT\n"
            "main   ttl 10s  critical  -        -      -     disk\n");
}

TEST(DescribeTest, SaysThatALeaseIsOver) {
  FakeServer server;
  server.discovery.describe = [](const auto& request, auto* response) {
    const auto status = Described(request, response);
    response->mutable_lease()->mutable_remaining()->Clear();
    return status;
  };
  EXPECT_THAT(RunAt(server, {"describe", "web", "web-1"}).out,
              HasSubstr("lease         overdue, of 30s\n"));
}

TEST(DescribeTest, SaysWhoseMaintenanceItIs) {
  FakeServer server;
  const auto said = [&](bool own, bool of_node, const std::string& reason) {
    server.discovery.describe = [=](const auto& request, auto* response) {
      const grpc::Status status = Described(request, response);
      response->mutable_maintenance()->set_instance(own);
      response->mutable_maintenance()->set_node(of_node);
      response->mutable_maintenance()->set_reason(reason);
      response->mutable_maintenance()->mutable_since()->set_seconds(1'790'000'000);
      return status;
    };
    return RunAt(server, {"describe", "web", "web-1"}).out;
  };
  EXPECT_THAT(said(false, true, "disk\x1b[2J"),
              HasSubstr("state         active\n"
                        "maintenance   of its node, since 2026-09-21T14:13:20Z: disk\\x1b[2J\n"));
  EXPECT_THAT(said(true, true, ""),
              HasSubstr("maintenance   its own, and of its node, since 2026-09-21T14:13:20Z\n"));
  EXPECT_THAT(said(true, false, ""),
              HasSubstr("maintenance   its own, since 2026-09-21T14:13:20Z\n"));
}

TEST(DescribeTest, JsonAndNotFound) {
  FakeServer server;
  server.discovery.describe = Described;
  v1::DescribeInstanceResponse response;
  const Ran ran = RunAt(server, {"-o", "json", "describe", "web", "web-1"});
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(ran.out, &response).ok()) << ran.out;
  EXPECT_EQ(response.incarnation(), 42u);
  const Ran missing = RunAt(server, {"describe", "api", "api-1"});
  EXPECT_EQ(missing.code, 1);
  EXPECT_THAT(missing.err, HasSubstr("NOT_FOUND (INSTANCE_NOT_FOUND): no such instance"));
}

}  // namespace
}  // namespace muster::cli

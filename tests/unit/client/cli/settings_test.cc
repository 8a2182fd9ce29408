// settings: shown, changed, cleared.
#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
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

// A server with one service, Web, which keeps what it is told; and another whose name begins so.
class SettingsTest : public ::testing::Test {
 protected:
  SettingsTest() {
    server_.discovery.list_services = [this](const auto& request, auto* response) {
      lists_.Add(request);
      const bool web =
          std::string("web").starts_with(request.prefix()) || request.prefix() == "WEB";
      for (const char* name : {"Web", "web-b"}) {
        if (!web || response->services_size() == 1) continue;
        auto* service = response->add_services();
        service->set_namespace_("default");
        service->set_service(name);
        if (!kept_.All().empty()) *service->mutable_settings() = kept_.All().back();
      }
      return Ok();
    };
    server_.registry.set_settings = [this](const auto& request, auto* response) {
      calls_.Add(request);
      kept_.Add(request.settings());
      response->mutable_revision()->set_seq(7);
      return Ok();
    };
  }

  Recorder<v1::ListServicesRequest> lists_;
  Recorder<v1::SetServiceSettingsRequest> calls_;
  Recorder<v1::ServiceSettings> kept_;
  FakeServer server_;
};

TEST_F(SettingsTest, ChangesThoseThatAreNamed) {
  const Ran ran = RunAt(server_, {"settings", "web", "--panic", "true", "--default-ttl", "20s"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "default/Web: panic true, default TTL 20s\n");
  const v1::SetServiceSettingsRequest first = calls_.All().at(0);
  EXPECT_EQ(first.service(), "web");
  EXPECT_TRUE(first.settings().panic());
  EXPECT_EQ(first.settings().default_ttl().seconds(), 20);
  EXPECT_FALSE(first.settings().has_brake_share());

  EXPECT_EQ(RunAt(server_, {"settings", "web", "--brake-share", "0.5", "--panic", "false"}).out,
            "default/Web: panic false, brake share 0.5, default TTL 20s\n");
  EXPECT_EQ(calls_.All().at(1).settings().default_ttl().seconds(), 20) << "it wasn't named";
  EXPECT_EQ(RunAt(server_, {"settings", "web", "--clear", "--brake-share", "0"}).out,
            "default/Web: brake share 0\n");
  EXPECT_EQ(RunAt(server_, {"settings", "web", "--clear"}).out,
            "default/Web: as the server's configuration says\n");
  EXPECT_EQ(calls_.All().size(), 4u);
}

TEST_F(SettingsTest, ShowsThemWithoutFlags) {
  EXPECT_EQ(RunAt(server_, {"settings", "WEB", "--namespace", "shop"}).out,
            "default/Web: as the server's configuration says\n");
  EXPECT_EQ(lists_.All().at(0).namespace_(), "shop");
  v1::ServiceSettings settings;
  settings.set_panic(true);
  kept_.Add(settings);
  EXPECT_EQ(RunAt(server_, {"settings", "web"}).out, "default/Web: panic true\n");
  EXPECT_EQ(RunAt(server_, {"settings", "web", "-o", "json"}).out, "{\"panic\":true}\n");
  EXPECT_TRUE(calls_.All().empty());
}

TEST_F(SettingsTest, OneThatNobodyKnows) {
  for (const char* name : {"api", "we"}) {
    const Ran ran = RunAt(server_, {"settings", name});
    EXPECT_EQ(ran.code, 1);
    EXPECT_EQ(ran.err,
              std::string("muster: ") + name + ": nobody ever registered under this name\n");
  }
  EXPECT_EQ(RunAt(server_, {"settings", "we", "--panic", "true", "-o", "json"}).out,
            "{\"revision\":{\"seq\":\"7\"}}\n")
      << "it may get some all the same";
  const Ran cleared = RunAt(server_, {"settings", "we", "--clear"});
  EXPECT_EQ(cleared.code, 0) << cleared.err;
  EXPECT_EQ(cleared.out, "default/we: as the server's configuration says\n") << "still unknown";
}

TEST_F(SettingsTest, RefusalsAreFailures) {
  server_.registry.set_settings = [](const auto&, auto*) {
    return Refused(grpc::StatusCode::INVALID_ARGUMENT, "INVALID_FIELD", "brake_share is 2");
  };
  const Ran ran = RunAt(server_, {"settings", "web", "--brake-share", "2"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("brake_share is 2"));
}

}  // namespace
}  // namespace muster::cli

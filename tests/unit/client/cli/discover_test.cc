#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include "fake_server.h"

namespace muster::cli {
namespace {

using ::testing::ContainsRegex;
using testing::FakeServer;
using ::testing::HasSubstr;
using testing::MakeEndpoint;
using ::testing::Not;
using testing::Ok;
using testing::Ran;
using testing::Recorder;
using testing::Refused;
using testing::RunAt;

// Three pages of one endpoint each.
grpc::Status Paged(const v1::DiscoverRequest& request, v1::DiscoverResponse* response) {
  const int page = request.page_token().empty() ? 1 : std::stoi(request.page_token());
  *response->add_endpoints() = MakeEndpoint("web-" + std::to_string(page), page);
  response->set_checksum(99);
  response->mutable_revision()->set_seq(41);
  if (page < 3) response->set_next_page_token(std::to_string(page + 1));
  return Ok();
}

v1::DiscoverResponse Parsed(const std::string& json) {
  v1::DiscoverResponse response;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(json, &response).ok()) << json;
  return response;
}

TEST(DiscoverTest, AllFlagsAreSent) {
  FakeServer server;
  Recorder<v1::DiscoverRequest> requests;
  server.discovery.discover = [&](const auto& request, auto* response) {
    requests.Add(request);
    return Paged(v1::DiscoverRequest(), response);
  };
  const Ran ran = RunAt(server, {"discover",
                                 "web",
                                 "--namespace",
                                 "shop",
                                 "--tag",
                                 "a",
                                 "--tag",
                                 "b",
                                 "--meta",
                                 "k=v",
                                 "--version",
                                 "2.7",
                                 "--min-health",
                                 "warning",
                                 "--include-draining",
                                 "--zone",
                                 "z1",
                                 "--region",
                                 "r1",
                                 "--limit",
                                 "1",
                                 "--min-revision",
                                 "5:6"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  ASSERT_EQ(requests.All().size(), 1u);
  v1::DiscoverRequest expected;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(
                  R"({"namespace":"shop","service":"web","limit":1,
                      "selector":{"allTags":["a","b"],"metadata":{"k":"v"},"version":"2.7",
                                  "minHealth":"WARNING","includeDraining":true},
                      "near":{"zone":"z1","region":"r1"},"minRevision":{"epoch":5,"seq":6}})",
                  &expected)
                  .ok());
  EXPECT_EQ(requests.All()[0].DebugString(), expected.DebugString());
}

TEST(DiscoverTest, PanicIsAskedForAndToldOf) {
  FakeServer server;
  Recorder<v1::DiscoverRequest> requests;
  server.discovery.discover = [&](const auto& request, auto* response) {
    requests.Add(request);
    *response->add_endpoints() = MakeEndpoint("web-1", 1);
    response->set_panic(request.panic());
    response->set_empty_reason(v1::ALL_UNHEALTHY);
    return Ok();
  };
  const Ran panic = RunAt(server, {"discover", "web", "--panic"});
  EXPECT_EQ(panic.code, 0);
  EXPECT_THAT(panic.out, HasSubstr("web-1"));
  EXPECT_EQ(panic.err,
            "muster: none is as healthy as was asked for: these are all, whatever their health\n");
  EXPECT_EQ(RunAt(server, {"discover", "web", "--no-panic"}).err, "");
  EXPECT_EQ(RunAt(server, {"discover", "web"}).err, "");
  ASSERT_EQ(requests.All().size(), 3u);
  EXPECT_TRUE(requests.All()[0].panic());
  EXPECT_TRUE(requests.All()[1].has_panic());
  EXPECT_FALSE(requests.All()[1].panic());
  EXPECT_FALSE(requests.All()[2].has_panic()) << "the service's settings say";
}

TEST(DiscoverTest, PagesAreOneTable) {
  FakeServer server;
  server.discovery.discover = Paged;
  const Ran ran = RunAt(server, {"discover", "web"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out,
            "ADDRESS        ID     NODE  HEALTH   STATE   VERSION  ZONE  TAGS  METADATA\n"
            "10.0.0.1:8080  web-1  -     passing  active  -        -     -     -\n"
            "10.0.0.1:8080  web-2  -     passing  active  -        -     -     -\n"
            "10.0.0.1:8080  web-3  -     passing  active  -        -     -     -\n");
  EXPECT_EQ(ran.err, "");
}

TEST(DiscoverTest, PagesAreOneJson) {
  FakeServer server;
  server.discovery.discover = Paged;
  const v1::DiscoverResponse all = Parsed(RunAt(server, {"-o", "json", "discover", "web"}).out);
  ASSERT_EQ(all.endpoints_size(), 3);
  EXPECT_EQ(all.endpoints(2).id(), "web-3");
  EXPECT_EQ(all.checksum(), 99u);
  EXPECT_EQ(all.revision().seq(), 41u);
  EXPECT_EQ(all.next_page_token(), "");
}

TEST(DiscoverTest, ALimitEndsThePages) {
  FakeServer server;
  server.discovery.discover = Paged;
  const Ran ran = RunAt(server, {"discover", "web", "--limit", "2", "-o", "json"});
  EXPECT_EQ(Parsed(ran.out).endpoints_size(), 2);
}

TEST(DiscoverTest, PagesThatExpiredAreReadAgain) {
  FakeServer server;
  Recorder<std::string> tokens;
  server.discovery.discover = [&](const auto& request, auto* response) {
    if (tokens.Add(request.page_token()) == 2) {
      return Refused(grpc::StatusCode::ABORTED, "PAGE_TOKEN_EXPIRED", "start again");
    }
    return Paged(request, response);
  };
  const Ran ran = RunAt(server, {"discover", "web", "-o", "json"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(Parsed(ran.out).endpoints_size(), 3);
  EXPECT_EQ(tokens.All(), (std::vector<std::string>{"", "2", "", "2", "3"}));
}

TEST(DiscoverTest, PagesThatNeverHoldFail) {
  FakeServer server;
  server.discovery.discover = [](const auto&, auto*) {
    return Refused(grpc::StatusCode::ABORTED, "PAGE_TOKEN_EXPIRED", "start again");
  };
  const Ran ran = RunAt(server, {"discover", "web"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("ABORTED (PAGE_TOKEN_EXPIRED): start again"));
}

TEST(DiscoverTest, PagesWithoutAnEndFail) {
  FakeServer server;
  server.discovery.discover = [](const auto&, auto* response) {
    response->set_next_page_token("same");
    return Ok();
  };
  EXPECT_EQ(RunAt(server, {"discover", "web"}).code, 1);
}

TEST(DiscoverTest, EmptyIsSaidWhyAndIsOne) {
  FakeServer server;
  server.discovery.discover = [](const auto&, auto* response) {
    response->set_empty_reason(v1::UNKNOWN_SERVICE);
    return Ok();
  };
  const Ran ran = RunAt(server, {"discover", "web"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.out, "");
  EXPECT_EQ(ran.err, "muster: web: nobody ever registered under this name\n");
  const Ran json = RunAt(server, {"discover", "web", "-o", "json"});
  EXPECT_EQ(json.code, 1);
  EXPECT_EQ(Parsed(json.out).empty_reason(), v1::UNKNOWN_SERVICE);
}

TEST(DiscoverTest, HeldEndpointsAreMarkedAndNoted) {
  FakeServer server;
  server.discovery.discover = [](const auto&, auto* response) {
    *response->add_endpoints() = MakeEndpoint("web-1", 1);
    *response->add_endpoints() = MakeEndpoint("web-2", 2);
    auto* held = response->add_held();
    held->set_zone("z1");
    held->add_reasons(v1::Held::STORAGE_READ_ONLY);
    held->add_keys()->set_id("web-2");
    held->set_count(5);
    response->mutable_frozen_since()->set_seconds(60);
    return Ok();
  };
  const Ran ran = RunAt(server, {"discover", "web"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_THAT(ran.out, ContainsRegex("web-1 .* active  "));
  EXPECT_THAT(ran.out, ContainsRegex("web-2 .* active, held  "));
  EXPECT_EQ(ran.err,
            "muster: 1 overdue endpoint is held in zone z1 since 1970-01-01T00:00:00Z: the store "
            "takes no writes\n"
            "muster: the server takes no changes since 1970-01-01T00:01:00Z; see muster status\n");
  const Ran json = RunAt(server, {"-o", "json", "discover", "web"});
  EXPECT_EQ(Parsed(json.out).held(0).keys(0).id(), "web-2");
}

TEST(DiscoverTest, HeldEndpointsOfAllPagesAreOneSet) {
  FakeServer server;
  server.discovery.discover = [](const auto& request, auto* response) {
    const bool first = request.page_token().empty();
    *response->add_endpoints() = MakeEndpoint(first ? "a" : "b", 1);
    auto* held = response->add_held();
    held->set_zone("z1");
    held->add_keys()->set_id(first ? "a" : "b");
    if (first) response->set_next_page_token("next");
    return Ok();
  };
  const Ran ran = RunAt(server, {"discover", "web"});
  EXPECT_THAT(ran.out, ContainsRegex("a .* active, held  "));
  EXPECT_THAT(ran.out, ContainsRegex("b .* active, held  "));
  EXPECT_EQ(ran.err,
            "muster: 2 overdue endpoints are held in zone z1 since 1970-01-01T00:00:00Z\n");
}

TEST(DiscoverTest, ErrorsCarryTheReason) {
  FakeServer server;
  server.discovery.discover = [](const auto&, auto*) {
    return Refused(grpc::StatusCode::INVALID_ARGUMENT, "NAME_INVALID", "service name \"a\x1b[2J\"");
  };
  const Ran ran = RunAt(server, {"discover", "a b"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.err, "muster: " + server.address() +
                         ": INVALID_ARGUMENT (NAME_INVALID): service name \"a\\x1b[2J\"\n");
}

TEST(DiscoverTest, TerminalsGetColoursAndNoForeignControls) {
  FakeServer server;
  server.discovery.discover = [](const auto&, auto* response) {
    *response->add_endpoints() = MakeEndpoint("web\x1b[31m", 1);
    return Ok();
  };
  const Ran file = RunAt(server, {"discover", "web"});
  EXPECT_THAT(file.out, Not(HasSubstr("\x1b")));
  EXPECT_THAT(file.out, HasSubstr("web\\x1b[31m"));
  const Ran terminal = RunAt(server, {"discover", "web"}, {.out_is_terminal = true});
  EXPECT_THAT(terminal.out, HasSubstr("\x1b[32mpassing\x1b[0m"));
  EXPECT_THAT(terminal.out, HasSubstr("web\\x1b[31m"));
  const Ran plain = RunAt(server, {"--no-color", "discover", "web"}, {.out_is_terminal = true});
  EXPECT_EQ(plain.out, file.out);
}

}  // namespace
}  // namespace muster::cli

// health, and the checks of describe.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <sstream>

#include "base/clock.h"
#include "base/text.h"
#include "fake_server.h"

namespace muster::cli {
namespace {

using testing::FakeServer;
using ::testing::HasSubstr;
using testing::MakeEndpoint;
using ::testing::Not;
using testing::Ok;
using testing::Ran;
using testing::Recorder;
using testing::Refused;
using testing::RunAt;

int64_t SecondsAgo(int64_t seconds) { return base::RealClock().System().us / 1'000'000 - seconds; }

// web-1 on n1 has two checks, web-2 none and is in maintenance, web-3 has gone since.
class HealthTest : public ::testing::Test {
 protected:
  HealthTest() {
    server_.discovery.discover = [this](const auto& request, auto* response) {
      discovers_.Add(request);
      const bool first = request.page_token().empty();
      *response->add_endpoints() = MakeEndpoint(first ? "web-1" : "web-2", 1);
      if (first) response->mutable_endpoints(0)->set_node("n1");
      if (!first) *response->add_endpoints() = MakeEndpoint("web-3", 1);
      if (first) response->set_next_page_token("2");
      return Ok();
    };
    server_.discovery.describe = [this](const auto& request, auto* response) {
      if (request.key().id() == "web-3") {
        return Refused(grpc::StatusCode::NOT_FOUND, "INSTANCE_NOT_FOUND", "no such instance");
      }
      *response = request.key().id() == "web-1" ? First() : Second();
      return Ok();
    };
  }

  v1::DescribeInstanceResponse First() const {
    v1::DescribeInstanceResponse all;
    const std::string text = R"(
      instance { namespace: 'default' service: 'web' id: 'web-1' node: 'n1' address: '10.0.0.1' port: 80 }
      endpoint { health: CRITICAL state: ACTIVE }
      lease { permanent: true }
      checks {
        check { id: 'health' name: 'ready' http { url: '/health' } }
        latest { status: CRITICAL output: ')" +
                             output_ + R"(' at { seconds: 1790000009 } }
        transitions { status: CRITICAL output: 'HTTP 503' at { seconds: )" +
                             std::to_string(SecondsAgo(192)) + R"( } }
        transitions { status: PASSING output: 'HTTP 200' at { seconds: 1790000000 } }
      }
      checks { check { id: 'main' ttl { ttl { seconds: 30 } } initial_status: WARNING } })";
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &all)) << text;
    return all;
  }

  static v1::DescribeInstanceResponse Second() {
    v1::DescribeInstanceResponse all;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
        "instance { service: 'web' id: 'web-2' } endpoint { health: PASSING state: MAINTENANCE } "
        "maintenance { node: true reason: 'disk\\033[31m swap' since { seconds: 1790000000 } }",
        &all));
    return all;
  }

  // In the text format of messages.
  std::string output_ = "HTTP 503\\nService Unavailable";
  Recorder<v1::DiscoverRequest> discovers_;
  FakeServer server_;
};

TEST_F(HealthTest, ALineForEachCheck) {
  const Ran ran = RunAt(server_, {"health", "web", "--namespace", "shop"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  // The clock may tick between the answer and the table.
  const std::string out = ran.out;
  EXPECT_THAT(
      out,
      ::testing::MatchesRegex(
          "INSTANCE     STATE                           CHECK   STATUS    HISTORY  SINCE  OUTPUT\n"
          "web-1 on n1  active                          health  critical  PC       3m1.s  HTTP "
          "503\n"
          "web-1 on n1  active                          main    warning   -        -      -\n"
          "web-2        maintenance: disk.x1b\\[31m swap  -       passing   -        -      it has "
          "no check\n"));
  const v1::DiscoverRequest request = discovers_.All().at(0);
  EXPECT_EQ(request.namespace_(), "shop");
  EXPECT_EQ(request.selector().min_health(), v1::Selector::ANY);
  EXPECT_TRUE(request.selector().include_draining());
}

TEST_F(HealthTest, SaysWhoIsOverdue) {
  server_.discovery.describe = [this](const auto&, auto* response) {
    *response = First();
    response->mutable_lease()->set_permanent(false);
    response->mutable_lease()->mutable_ttl()->set_seconds(30);
    response->mutable_lease()->mutable_remaining();
    return Ok();
  };
  EXPECT_THAT(RunAt(server_, {"health", "web"}).out, HasSubstr("web-1 on n1  active, overdue  "));
}

TEST_F(HealthTest, OfOneNode) {
  const Ran ran = RunAt(server_, {"health", "web", "--node", "n1"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("web-1 on n1"));
  EXPECT_THAT(ran.out, Not(HasSubstr("web-2")));
  const Ran none = RunAt(server_, {"health", "web", "--node", "n\x1b"});
  EXPECT_EQ(none.code, 1);
  EXPECT_EQ(none.err, "muster: web: no instance is on node \"n\\x1b\"\n");
}

TEST_F(HealthTest, NoInstanceIsAFailure) {
  server_.discovery.discover = [](const auto&, auto* response) {
    response->set_empty_reason(v1::UNKNOWN_SERVICE);
    return Ok();
  };
  const Ran ran = RunAt(server_, {"health", "web"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.out, "");
  EXPECT_EQ(ran.err, "muster: web: nobody ever registered under this name\n");
  server_.discovery.discover = [](const auto&, auto* response) {
    *response->add_endpoints() = MakeEndpoint("web-3", 1);
    return Ok();
  };
  EXPECT_EQ(RunAt(server_, {"health", "web"}).err,
            "muster: web: the service is known and has no instance now\n");
  server_.discovery.describe = [](const auto&, auto*) {
    return Refused(grpc::StatusCode::PERMISSION_DENIED, "", "not you");
  };
  const Ran refused = RunAt(server_, {"health", "web"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err, HasSubstr("PERMISSION_DENIED: not you"));
}

TEST_F(HealthTest, JsonHasALineForEachInstance) {
  const Ran ran = RunAt(server_, {"-o", "json", "health", "web"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  std::istringstream lines(ran.out);
  std::string line;
  std::vector<std::string> ids;
  while (std::getline(lines, line)) {
    v1::DescribeInstanceResponse all;
    ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(line, &all).ok()) << line;
    ids.push_back(all.instance().id());
  }
  EXPECT_THAT(ids, ::testing::ElementsAre("web-1", "web-2"));
}

TEST_F(HealthTest, ColoursAreForTerminals) {
  const std::string dots = "\x1b[32m●\x1b[0m\x1b[31m●\x1b[0m";
  EXPECT_THAT(RunAt(server_, {"health", "web"}).out, Not(HasSubstr("\x1b")));
  EXPECT_THAT(RunAt(server_, {"health", "web"}, {.out_is_terminal = true}).out, HasSubstr(dots));
  const std::vector<std::string> plain = {"--no-color", "health", "web"};
  EXPECT_THAT(RunAt(server_, plain, {.out_is_terminal = true}).out, Not(HasSubstr("\x1b")));
  setenv("NO_COLOR", "1", 1);
  const Ran ran = RunAt(server_, {"health", "web"}, {.out_is_terminal = true});
  unsetenv("NO_COLOR");
  EXPECT_THAT(ran.out, Not(HasSubstr("\x1b")));
  EXPECT_THAT(ran.out, HasSubstr("  PC  "));
}

TEST_F(HealthTest, OutputsAreCutToTheTerminal) {
  output_ = std::string(500, 'x') + "\\nmore";
  const testing::RunOptions narrow{.out_is_terminal = true, .out_columns = 100};
  const Ran ran = RunAt(server_, {"--no-color", "health", "web", "--node", "n1"}, narrow);
  // 55 columns are before it.
  EXPECT_THAT(ran.out, HasSubstr("  " + std::string(44, 'x') + "…\n"));
  const Ran piped = RunAt(server_, {"health", "web"});
  EXPECT_THAT(piped.out, HasSubstr("  " + std::string(119, 'x') + "…\n"));
}

TEST_F(HealthTest, NothingFromOutsideReachesTheTerminalAsItCame) {
  output_ = "\\033]0;owned\\007\\302\\233\\342\\200\\256 \\r gone";
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"health", "web"}, {"describe", "web", "web-1"}}) {
    const Ran ran = RunAt(server_, words, {.out_columns = 300});
    EXPECT_EQ(ran.code, 0) << ran.err;
    std::istringstream lines(ran.out);
    std::string line;
    while (std::getline(lines, line)) EXPECT_TRUE(base::IsPrintableUtf8(line)) << line;
    EXPECT_THAT(ran.out, HasSubstr("\\x1b]0;owned\\x07\\xc2\\x9b\\xe2\\x80\\xae \n"));
  }
}

TEST_F(HealthTest, DescribeSaysHowChecksAreAndWere) {
  const Ran ran = RunAt(server_, {"describe", "web", "web-1", "--node", "n1"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  const std::string from = ran.out.substr(ran.out.find("\n\n") + 2);
  EXPECT_THAT(from, ::testing::MatchesRegex("CHECK           KIND          STATUS    HISTORY  "
                                            "SINCE                 LAST                  OUTPUT\n"
                                            "health .ready.  http /health  critical  PC       "
                                            "20..-..-..T..:..:..Z  2026-09-21T14:13:29Z  HTTP 503\n"
                                            "main            ttl 30s       warning   -        -    "
                                            "                 -                     -\n"
                                            "\n"
                                            "CHECK   TIME                  BECAME    OUTPUT\n"
                                            "health  20..-..-..T..:..:..Z  critical  HTTP 503\n"
                                            "health  2026-09-21T14:13:20Z  passing   HTTP 200\n"));
}

TEST_F(HealthTest, DescribeSaysWhyAnInstanceIsInMaintenance) {
  const Ran ran = RunAt(server_, {"describe", "web", "web-2"});
  EXPECT_THAT(ran.out, HasSubstr("\nmaintenance   of its node, since 2026-09-21T14:13:20Z: "
                                 "disk\\x1b[31m swap\n"));
}

}  // namespace
}  // namespace muster::cli

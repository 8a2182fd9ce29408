#include "server/health/http_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace muster::health {
namespace {

using testing::HasSubstr;
using Outcome = ProbeResult::Outcome;

const InstanceTarget kInstance{"10.0.0.7", 8080};

absl::StatusOr<HttpPlan> Plan(const v1::Check::Http& http) {
  return PlanHttp(http, kInstance, absl::Seconds(1));
}

v1::Check::Http Http(const std::string& url) {
  v1::Check::Http http;
  http.set_url(url);
  return http;
}

TEST(HttpPlanTest, ARequestToAPathOfTheInstance) {
  const auto plan = Plan(Http("/health?deep=1"));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->request,
            "GET /health?deep=1 HTTP/1.1\r\n"
            "Accept: */*\r\n"
            "Host: 10.0.0.7:8080\r\n"
            "User-Agent: muster-health\r\n"
            "Connection: close\r\n"
            "\r\n");
  EXPECT_EQ(plan->target.host, "10.0.0.7");
  EXPECT_EQ(plan->target.port, 8080);
  EXPECT_FALSE(plan->target.tls);
}

TEST(HttpPlanTest, MethodHeadersAndBodyAsTheyAreGiven) {
  v1::Check::Http http = Http("http://db.example");
  http.set_method("PUT");
  http.set_body(std::string("a\0b\r\n", 5));
  (*http.mutable_headers())["host"] = "other";
  (*http.mutable_headers())["X-Token"] = "t\xC3\xA4";
  (*http.mutable_headers())["user-agent"] = "mine";
  const auto plan = Plan(http);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->request, std::string("PUT / HTTP/1.1\r\n"
                                       "Accept: */*\r\n"
                                       "host: other\r\n"
                                       "user-agent: mine\r\n"
                                       "X-Token: t\xC3\xA4\r\n"
                                       "Content-Length: 5\r\n"
                                       "Connection: close\r\n"
                                       "\r\n") +
                               std::string("a\0b\r\n", 5));
}

TEST(HttpPlanTest, AnEmptyBodyIsNamedWhereOneIsExpected) {
  v1::Check::Http http = Http("/");
  http.set_method("POST");
  EXPECT_THAT(Plan(http)->request, HasSubstr("Content-Length: 0\r\n"));
  http.set_method("HEAD");
  EXPECT_THAT(Plan(http)->request, testing::Not(HasSubstr("Content-Length")));
  EXPECT_TRUE(Plan(http)->head);
}

struct UrlCase {
  std::string url;
  std::string host;
  uint16_t port;
  bool tls;
  std::string line;
  std::string host_header;
};

TEST(HttpPlanTest, Urls) {
  for (const UrlCase& c : {
           UrlCase{"http://db.example", "db.example", 80, false, "GET / ", "db.example"},
           UrlCase{"HTTPS://db.example/x", "db.example", 443, true, "GET /x ", "db.example"},
           UrlCase{"http://db:81?q", "db", 81, false, "GET /?q ", "db:81"},
           UrlCase{"https://[fd00::1]", "fd00::1", 443, true, "GET / ", "[fd00::1]"},
           UrlCase{"http://[::1]:8080/a/b", "::1", 8080, false, "GET /a/b ", "[::1]:8080"},
           UrlCase{"http://db:443/", "db", 443, false, "GET / ", "db:443"},
           UrlCase{"//x", "10.0.0.7", 8080, false, "GET //x ", "10.0.0.7:8080"},
       }) {
    const auto plan = Plan(Http(c.url));
    ASSERT_TRUE(plan.ok()) << c.url << ": " << plan.status();
    EXPECT_EQ(plan->target.host, c.host) << c.url;
    EXPECT_EQ(plan->target.port, c.port) << c.url;
    EXPECT_EQ(plan->target.tls, c.tls) << c.url;
    EXPECT_TRUE(plan->request.starts_with(c.line)) << plan->request;
    EXPECT_THAT(plan->request, HasSubstr("\r\nHost: " + c.host_header + "\r\n")) << c.url;
  }
}

TEST(HttpPlanTest, UrlsThatAreRefused) {
  for (const std::string bad : {"",
                                "health",
                                "ftp://db/",
                                "http://",
                                "http:///x",
                                "http://u:p@db/",
                                "http://db/#x",
                                "http://db/a b",
                                "/a\r\nX: y",
                                "/\xC3\xA4",
                                "/a\tb",
                                "http://db:0/",
                                "http://db:70000/",
                                "http://db:/",
                                "http://fd00::1/",
                                "http://[fd00::1/",
                                "http://[db]/",
                                "http://d%62/",
                                "http://db\\@x/",
                                "http://[fe80::1%25eth0]/",
                                "http://-db/",
                                "/\x7F",
                                "http://db:80:80/"}) {
    EXPECT_EQ(Plan(Http(bad)).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  std::string nul = "/a";
  nul += '\0';
  EXPECT_FALSE(Plan(Http(nul)).ok());
}

TEST(HttpPlanTest, NothingReachesBeyondItsPlaceInTheRequest) {
  for (const std::string bad : {"GET /x HTTP/1.1\r\nX:", "G T", "GET\r\n", "G:", "\xC3\xA4"}) {
    v1::Check::Http http = Http("/");
    http.set_method(bad);
    EXPECT_EQ(Plan(http).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  for (const std::string bad : {"", "X:", "X Y", "X\r\nY", "X\n", "\xC3\xA4", "Connection",
                                "content-length", "Transfer-Encoding", "TRANSFER-ENCODING"}) {
    v1::Check::Http http = Http("/");
    (*http.mutable_headers())[bad] = "v";
    EXPECT_EQ(Plan(http).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  for (const std::string& bad : {std::string("a\r\nX: y"), std::string("a\nb"), std::string("a\rb"),
                                 std::string("a\0b", 3), std::string("\x7F")}) {
    v1::Check::Http http = Http("/");
    (*http.mutable_headers())["X"] = bad;
    EXPECT_EQ(Plan(http).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  v1::Check::Http twice = Http("/");
  (*twice.mutable_headers())["Host"] = "a";
  (*twice.mutable_headers())["host"] = "b";
  EXPECT_EQ(Plan(twice).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(HttpPlanTest, TlsOfAPathAndOfAUrl) {
  v1::Check::Http http = Http("/");
  http.set_tls(true);
  http.set_tls_server_name("web.example");
  http.set_tls_skip_verify(true);
  auto plan = Plan(http);
  ASSERT_TRUE(plan.ok());
  EXPECT_TRUE(plan->target.tls);
  EXPECT_TRUE(plan->target.skip_verify);
  EXPECT_EQ(plan->target.server_name, "web.example");
  EXPECT_EQ(plan->target.port, 8080);
  http.set_url("http://db/");
  EXPECT_FALSE(Plan(http)->target.tls) << "a full URL says so itself";
}

TEST(HttpPlanTest, StatusesAreJudged) {
  HttpPlan plan = *Plan(Http("/"));
  EXPECT_EQ(JudgeStatus(plan, 199), Outcome::kFailing);
  EXPECT_EQ(JudgeStatus(plan, 200), Outcome::kPassing);
  EXPECT_EQ(JudgeStatus(plan, 299), Outcome::kPassing);
  EXPECT_EQ(JudgeStatus(plan, 300), Outcome::kFailing);
  EXPECT_EQ(JudgeStatus(plan, 429), Outcome::kWarning);
  EXPECT_EQ(JudgeStatus(plan, 999), Outcome::kFailing);
  v1::Check::Http http = Http("/");
  auto* range = http.add_expected_status();
  range->set_first(404);
  range->set_last(404);
  range = http.add_expected_status();
  range->set_first(429);
  range->set_last(500);
  plan = *Plan(http);
  EXPECT_EQ(JudgeStatus(plan, 200), Outcome::kFailing);
  EXPECT_EQ(JudgeStatus(plan, 404), Outcome::kPassing);
  EXPECT_EQ(JudgeStatus(plan, 429), Outcome::kPassing);
}

}  // namespace
}  // namespace muster::health

#include "muster/client/target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/text.h"

namespace muster::client {
namespace {

using Kind = Target::Kind;
using testing::HasSubstr;

Target Parsed(const std::string& text) {
  const auto target = ParseTarget(text);
  EXPECT_TRUE(target.ok()) << text << ": " << target.status();
  return target.ok() ? *target : Target{};
}

TEST(TargetTest, ABareNameIsAService) {
  const Target target = Parsed("api");
  EXPECT_EQ(target.kind, Kind::kService);
  EXPECT_EQ(target.query, (Query{.service = "api"}));
  EXPECT_EQ(target.dns, (Address{"api", 0}));
  EXPECT_EQ(target.Url("10.0.0.1", 80), "10.0.0.1:80");
  EXPECT_EQ(target.Url("fd00::1", 80), "[fd00::1]:80");
}

TEST(TargetTest, APortIsThatOfTheDnsName) {
  const Target target = Parsed("user-service:8002");
  EXPECT_EQ(target.query.service, "user-service");
  EXPECT_EQ(target.dns, (Address{"user-service", 8002}));
}

TEST(TargetTest, NamesWithDotsAreServicesToo) {
  EXPECT_EQ(Parsed("api.example.com").query.service, "api.example.com");
  const Target absolute = Parsed("api.example.com.");
  EXPECT_EQ(absolute.query.service, "api.example.com");
  EXPECT_EQ(absolute.dns.host, "api.example.com.") << "DNS searches no domains for it";
}

TEST(TargetTest, OfAUrlOnlyHostAndPortAreReplaced) {
  struct Case {
    std::string url;
    Address dns;
    std::string replaced;
  };
  for (const Case& c : std::vector<Case>{
           {"http://user-service:8002/users/7?full=1#top",
            {"user-service", 8002},
            "http://10.0.0.7:31002/users/7?full=1#top"},
           {"http://api", {"api", 80}, "http://10.0.0.7:31002"},
           {"HTTPS://Api/", {"Api", 443}, "HTTPS://10.0.0.7:31002/"},
           {"http://api?x=http://other:1/", {"api", 80}, "http://10.0.0.7:31002?x=http://other:1/"},
           {"redis://:p@ss@redis/0", {"redis", 6379}, "redis://:p@ss@10.0.0.7:31002/0"},
           {"postgres://u:p@db:5433/shop", {"db", 5433}, "postgres://u:p@10.0.0.7:31002/shop"},
           {"grpc://orders", {"orders", 0}, "grpc://10.0.0.7:31002"}}) {
    const Target target = Parsed(c.url);
    EXPECT_EQ(target.kind, Kind::kService) << c.url;
    EXPECT_EQ(target.query.service, c.dns.host) << c.url;
    EXPECT_EQ(target.dns, c.dns) << c.url;
    EXPECT_EQ(target.Url("10.0.0.7", 31002), c.replaced);
  }
  EXPECT_EQ(Parsed("http://api/x").Url("fd00::7", 0), "http://[fd00::7]/x");
}

TEST(TargetTest, AUrlMayHoldAConsulName) {
  const Target target = Parsed("http://v2.api.service.consul:8080/x");
  EXPECT_EQ(target.query, (Query{.service = "api", .tags = {"v2"}}));
  EXPECT_EQ(target.dns, (Address{"v2.api.service.consul", 8080}));
  EXPECT_EQ(target.Url("10.0.0.7", 1), "http://10.0.0.7:1/x");
}

TEST(TargetTest, AnAddressIsStatic) {
  for (const auto& [text, address] :
       std::vector<std::pair<std::string, Address>>{{"10.0.0.1:80", {"10.0.0.1", 80}},
                                                    {"[fd00::1]:80", {"fd00::1", 80}},
                                                    {"http://10.0.0.1/x", {"10.0.0.1", 80}},
                                                    {"https://[::1]/x", {"::1", 443}}}) {
    const Target target = Parsed(text);
    EXPECT_EQ(target.kind, Kind::kStatic) << text;
    EXPECT_EQ(target.addresses, std::vector<Address>{address}) << text;
  }
}

TEST(TargetTest, LocalhostIsNoService) {
  const Target target = Parsed("http://LocalHost:8080/x");
  EXPECT_EQ(target.kind, Kind::kDns);
  EXPECT_EQ(target.dns, (Address{"LocalHost", 8080}));
}

TEST(TargetTest, MusterTakesConditions) {
  const Target target = Parsed("muster:///api:8080?tag=v2&zone=eu-1");
  EXPECT_EQ(target.kind, Kind::kService);
  EXPECT_EQ(target.query, (Query{.service = "api", .tags = {"v2"}, .zone = "eu-1"}));
  EXPECT_EQ(target.dns, (Address{"api", 8080}));
  EXPECT_EQ(Parsed("Muster:///api"), Parsed("api"));
}

TEST(TargetTest, DnsAndStaticNeverAskTheRegistry) {
  EXPECT_EQ(Parsed("dns:///db.example:5432"),
            (Target{.kind = Kind::kDns, .dns = {"db.example", 5432}}));
  EXPECT_EQ(Parsed("dns:///db").dns, (Address{"db", 0}));
  EXPECT_EQ(Parsed("static:///10.0.0.1:80,[fd00::1]:81,db.example:82"),
            (Target{.kind = Kind::kStatic,
                    .addresses = {{"10.0.0.1", 80}, {"fd00::1", 81}, {"db.example", 82}}}));
}

struct Bad {
  std::string text;
  std::string says;
};

TEST(TargetTest, WhatIsWrongIsNamed) {
  for (const Bad& bad : std::vector<Bad>{
           {"", "the target is empty; allowed: a service's name"},
           {std::string(2049, 'a'), "has 2049 bytes; at most 2048"},
           {"a b", "contains ' ' at 1"},
           {"api\n", "contains '\\x0a' at 3"},
           {"api\x80", "is not printable UTF-8"},
           {"api/users", "contains '/' at 3; what has more than a name and a port begins with"},
           {"api?tag=v2", "contains '?' at 3"},
           {std::string(129, 'a'), "has 129 bytes; at most 128"},
           {"ap!", "service name \"ap!\" contains '!' at 2"},
           {":80", "has no host"},
           {"api:", "has \"api:\" where a host stands; allowed: HOST, HOST:PORT"},
           {"api:0", "has \"api:0\" where a host stands; allowed: HOST, HOST:PORT"},
           {"api:65536", "has \"api:65536\" where a host stands; allowed: HOST, HOST:PORT"},
           {"api:+80", "has \"api:+80\" where a host stands; allowed: HOST, HOST:PORT"},
           {"fd00::1", "has \"fd00::1\" where a host stands; allowed: HOST, HOST:PORT"},
           {"[fd00::1", "has \"[fd00::1\" where a host stands; allowed: HOST, HOST:PORT"},
           {"[fd00::1]80", "has \"[fd00::1]80\" where a host stands; allowed: HOST, HOST:PORT"},
           {"[10.0.0.1]:80", "has \"[10.0.0.1]:80\" where a host stands; allowed: HOST, HOST:PORT"},
           {"[]:80", "has \"[]:80\" where a host stands; allowed: HOST, HOST:PORT"},
           {"10.0.0.1", "is an address without a port"},
           {"0.0.0.0:80", "has \"0.0.0.0\", which nothing can connect to"},
           {"http:///x", "has no host"},
           {"http://:80/", "has no host"},
           {"http://user@/", "has no host"},
           {"http://api:http/", "has \"api:http\" where a host stands; allowed: HOST, HOST:PORT"},
           {"http://v1.con%ul.api.service.consul/",
            "has \"v1.con%ul.api.service.consul:80\" where a host stands; allowed: HOST"},
           {"tcp://con%ul.api.service.consul",
            "has \"con%ul.api.service.consul:1\" where a host stands; allowed: HOST"},
           {"htp://api/", "has the unknown scheme \"htp\"; allowed: muster, dns, static, amqp"},
           {"://api", "has the unknown scheme \"\""},
           {"muster://api", "has \"api\" where nothing may stand; allowed: muster:///NAME"},
           {"muster:///", "names nothing; allowed: muster:///NAME"},
           {"muster://", "names nothing; allowed: muster:///NAME"},
           {"muster:///a/b", "service name \"a/b\" contains '/' at 1"},
           {"muster:///api?color=red", "has the unknown condition \"color\""},
           {"muster:///?tag=v2", "has no host"},
           {"dns://8.8.8.8/db",
            "has \"8.8.8.8\" where nothing may stand; allowed: dns:///HOST:PORT"},
           {"dns:///a..b", "has a host that is \"a..b\""},
           {"dns:///db/x", "has a host that \"db/x\" contains '/' at 2"},
           {"static:///10.0.0.1:80,", "has no host"},
           {"static:///10.0.0.1", "has \"10.0.0.1\" without a port"},
           {"static:///:::1", "has no host"},
           {"x.query.consul", "names no service; allowed of Consul's names"}}) {
    const auto target = ParseTarget(bad.text);
    ASSERT_FALSE(target.ok()) << bad.text;
    EXPECT_EQ(target.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(base::ReasonOf(target.status()), base::Reason::kNameInvalid) << bad.text;
    const std::string message(target.status().message());
    EXPECT_THAT(message, HasSubstr(bad.says));
    EXPECT_TRUE(base::IsPrintableUtf8(message)) << bad.text;
  }
}

}  // namespace
}  // namespace muster::client

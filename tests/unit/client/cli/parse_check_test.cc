// Checks as short texts.
#include "client/cli/parse_check.h"

#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "base/text.h"

namespace muster::cli {
namespace {

using Texts = std::vector<std::pair<std::string, std::string>>;

TEST(ParseCheckTest, WhatATextStandsFor) {
  const Texts cases = {
      {"http:/health", "http { url: '/health' }"},
      {"http:https://10.0.0.7:8443/ready?a=b&c=d",
       "http { url: 'https://10.0.0.7:8443/ready?a=b&c=d' }"},
      {"tcp", "tcp {}"},
      {"tcp:10.0.0.7:6379", "tcp { target: '10.0.0.7:6379' }"},
      {"tcp:[::1]:6379", "tcp { target: '[::1]:6379' }"},
      {"grpc", "grpc {}"},
      {"GRPC:10.0.0.7:50051", "grpc { target: '10.0.0.7:50051' }"},
      {"ttl:30s", "ttl { ttl { seconds: 30 } }"},
      {"ttl:1m30s,id=main,name=the main one,initial=Passing,deregister-after=1h",
       "id: 'main' name: 'the main one' ttl { ttl { seconds: 90 } } initial_status: PASSING "
       "deregister_after_critical { seconds: 3600 }"},
      {"tcp,id=a,interval=2s,timeout=250ms,failing-interval=1s,success=2,warning=1,failures=3,"
       "initial=warning,tls,skip-verify,server-name=db.local",
       "id: 'a' tcp { tls: true tls_skip_verify: true tls_server_name: 'db.local' } "
       "interval { seconds: 2 } timeout { nanos: 250000000 } failing_interval { seconds: 1 } "
       "success_before_passing: 2 failures_before_warning: 1 failures_before_critical: 3 "
       "initial_status: WARNING"},
      {"grpc,service=shop.Cart,tls=true,skip-verify=FALSE,server-name=x",
       "grpc { service: 'shop.Cart' tls: true tls_server_name: 'x' }"},
      {"http:/,tls,skip-verify,server-name=x,method=HEAD,header=Host: api,header=X-A:b:c ,"
       "header=X-Empty:,body={\"a\": 1\\, \"b\": 2},expect=200,expect=301-399,contains=up\\,\\, ok",
       "http { url: '/' tls: true tls_skip_verify: true tls_server_name: 'x' method: 'HEAD' "
       "headers { key: 'Host' value: 'api' } headers { key: 'X-A' value: 'b:c' } "
       "headers { key: 'X-Empty' value: '' } body: '{\"a\": 1, \"b\": 2}' "
       "expected_status { first: 200 last: 200 } expected_status { first: 301 last: 399 } "
       "body_contains: 'up,, ok' }"},
      // No backslash but one before a comma is special, and the first '=' ends the key.
      {"http:/a\\,b\\c,contains=a\\nb=c\\",
       "http { url: '/a,b\\\\c' body_contains: 'a\\\\nb=c\\\\' }"},
      {"tcp,success=0,failures=100", "tcp {} failures_before_critical: 100"},
      {"http:/é,name=größe", "name: 'größe' http { url: '/é' }"},
  };
  for (const auto& [spec, text] : cases) {
    v1::Check wanted;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &wanted)) << text;
    const auto check = ParseCheck(spec);
    ASSERT_TRUE(check.ok()) << check.status();
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*check, wanted))
        << spec << "\n"
        << check->DebugString();
  }
}

TEST(ParseCheckTest, WhatIsWrongIsNamed) {
  const std::string kind = "; allowed: http, tcp, grpc, ttl";
  const Texts cases = {
      {"", "no kind \"\"" + kind},
      {":", "no kind \"\"" + kind},
      {"/health", "no kind \"/health\"" + kind},
      {"htp:/health", "no kind \"htp\"; did you mean 'http'?"},
      {"udp:1", "no kind \"udp\"" + kind},
      {"http", "a path or URL is missing; allowed: http:/health, http:https://10.0.0.7:8443/ready"},
      {"http,id=a",
       "a path or URL is missing; allowed: http:/health, http:https://10.0.0.7:8443/ready"},
      {"http:",
       "nothing follows \"http:\"; allowed: http:/health, http:https://10.0.0.7:8443/ready"},
      {"tcp:", "nothing follows \"tcp:\"; allowed: tcp, tcp:10.0.0.7:6379"},
      {"grpc:,tls", "nothing follows \"grpc:\"; allowed: grpc, grpc:10.0.0.7:50051"},
      {"ttl", "a duration is missing; allowed: ttl:30s"},
      {"ttl:soon", "ttl is \"soon\"; allowed: a duration such as 30s"},
      {"tcp,", "a key is missing; allowed: KEY=VALUE, and \\, for a comma of a value"},
      {"tcp,=x", "a key is missing; allowed: KEY=VALUE, and \\, for a comma of a value"},
      {"tcp,intervall=3s", "no key \"intervall\"; did you mean 'interval'?"},
      {"http:/,metod=GET", "no key \"metod\"; did you mean 'method'?"},
      {"grpc,xyzzy=1",
       "no key \"xyzzy\"; allowed: id, name, initial, deregister-after, interval, timeout, "
       "failing-interval, success, warning, failures, tls, skip-verify, server-name, service"},
      {"ttl:30s,xyzzy", "no key \"xyzzy\"; allowed: id, name, initial, deregister-after"},
      {"tcp,method=GET", "key 'method' goes with http only"},
      {"http:/,service=a", "key 'service' goes with grpc only"},
      {"ttl:30s,interval=3s", "key 'interval' goes with http, tcp, grpc only"},
      {"ttl:30s,failures=3", "key 'failures' goes with http, tcp, grpc only"},
      {"tcp,id=a,id=b", "key 'id' is given twice"},
      {"tcp,tls,tls=false", "key 'tls' is given twice"},
      {"tcp,id", "key 'id' has no value"},
      {"tcp,id=", "key 'id' has an empty value"},
      {"tcp,interval=10", "interval is \"10\"; allowed: a duration such as 250ms, 30s, 1h30m"},
      {"tcp,timeout=-1s", "timeout is \"-1s\"; allowed: a duration such as 250ms, 30s, 1h30m"},
      {"tcp,success=101", "success is \"101\"; allowed: a number, 0 to 100"},
      {"tcp,failures=-1", "failures is \"-1\"; allowed: a number, 0 to 100"},
      {"tcp,warning=two", "warning is \"two\"; allowed: a number, 0 to 100"},
      {"tcp,initial=ok", "initial is \"ok\"; allowed: passing, warning, critical"},
      {"tcp,tls=yes", "tls is \"yes\"; allowed: true, false, or the key alone"},
      {"http:/,header=Host", "header is \"Host\"; allowed: \"Name: value\""},
      {"http:/,header= : x", "header is \" : x\"; allowed: \"Name: value\""},
      {"http:/,header=a: 1,header=A: 2", "header is \"A: 2\"; allowed: each header once"},
      {"http:/,expect=ok",
       "expect is \"ok\"; allowed: a status or range of 100 to 599, such as 200 or 200-299"},
      {"http:/,expect=299-200",
       "expect is \"299-200\"; allowed: a status or range of 100 to 599, such as 200 or 200-299"},
      {"http:/,expect=99",
       "expect is \"99\"; allowed: a status or range of 100 to 599, such as 200 or 200-299"},
      {"http:/,expect=200-600",
       "expect is \"200-600\"; allowed: a status or range of 100 to 599, such as 200 or 200-299"},
      {"http:/,expect=-200",
       "expect is \"-200\"; allowed: a status or range of 100 to 599, such as 200 or 200-299"},
      {"http:/,expect=200-",
       "expect is \"200-\"; allowed: a status or range of 100 to 599, such as 200 or 200-299"},
      {"tcp,id=\xff", "is not UTF-8"},
      {"tcp,\x1b[31m=1",
       "no key \"\\x1b[31m\"; allowed: id, name, initial, deregister-after, interval, timeout, "
       "failing-interval, success, warning, failures, tls, skip-verify, server-name"},
  };
  for (const auto& [spec, what] : cases) {
    const absl::Status status = ParseCheck(spec).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << spec;
    EXPECT_EQ(std::string(status.message()), "check " + base::Quoted(spec) + ": " + what);
  }
}

TEST(ParseCheckTest, AProbeIsRunByAServer) {
  EXPECT_TRUE(ParseProbe("tcp", "x").ok());
  EXPECT_EQ(std::string(ParseProbe("ttl:30s", "--check-ttl ID=30s for that").status().message()),
            "check \"ttl:30s\": no server runs a ttl check; allowed: http, tcp, grpc, and "
            "--check-ttl ID=30s for that");
  EXPECT_EQ(std::string(ParseProbe("ttl:x", "x").status().message()),
            "check \"ttl:x\": ttl is \"x\"; allowed: a duration such as 30s");
}

// Whatever a text holds, there is a check or an error that a terminal can show.
TEST(ParseCheckTest, TextsByChance) {
  const std::vector<std::string> parts = {
      "http",       "tcp",       "ttl",      ":",       ":/",
      ",",          ",id=",      ",tls",     "=",       "\\",
      "\\,",        ",header=",  ",expect=", "200-299", "30s",
      "-",          "\x1b",      "\xff",     "é",       std::string(1, '\0'),
      ",interval=", "9999999999"};
  base::SeededRng rng(20261127);
  int good = 0;
  for (int i = 0; i < 50'000; ++i) {
    std::string spec;
    for (uint64_t n = rng.Uniform(9); n > 0; --n) spec += parts[rng.Uniform(parts.size())];
    const auto check = ParseCheck(spec);
    good += check.ok() ? 1 : 0;
    if (check.ok()) {
      EXPECT_NE(check->kind_case(), v1::Check::KIND_NOT_SET) << spec;
    } else {
      EXPECT_TRUE(base::IsPrintableUtf8(std::string(check.status().message()))) << check.status();
    }
  }
  EXPECT_GT(good, 300);
}

}  // namespace
}  // namespace muster::cli

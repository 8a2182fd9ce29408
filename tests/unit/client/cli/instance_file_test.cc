// Files of instances.
#include "client/cli/instance_file.h"

#include <google/protobuf/text_format.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "base/text.h"

namespace muster::cli {
namespace {

using google::protobuf::util::MessageDifferencer;

v1::RegisterRequest Request(const std::string& text) {
  v1::RegisterRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
  return request;
}

std::string Error(const std::string& text) {
  return std::string(ParseInstances(text, "web.yaml").status().message());
}

constexpr char kEverything[] = R"(# all that there is
service: web
id: web-1
namespace: shop
node: n1
address: 10.0.0.7
additional_addresses: ["fd00::7"]
port: 8080
named_ports: {admin: 8081}
tags: [blue, 1, "true"]
metadata:
  k: 3
  "a b": ''
weight: {passing: 3, warning: 1}
locality:
  region: r1
  zone: z1
  sub_zone: rack 4
version: 2.70
protocol: http
ttl: 15s
permanent: false
checks:
  - id: health
    name: "Health"
    http:
      url: /health
      method: POST
      headers: {Host: api, X-A: b}
      body: "{\"a\": 1}"
      expected_status: [{first: 200, last: 204}, {first: 302, last: 302}]
      body_contains: ok
      tls: true
      tls_skip_verify: true
      tls_server_name: api.local
    interval: 5s
    timeout: 1.5s
    failing_interval: 1s
    success_before_passing: 2
    failures_before_warning: 1
    failures_before_critical: 3
    initial_status: passing
    deregister_after_critical: 1h30m
  - tcp:
  - {tcp: {target: "10.0.0.7:6379"}, initial_status: Warning}
  - grpc: {service: shop.Cart, target: "[::1]:50051"}
  - {id: main, ttl: {ttl: 30s}}
)";

constexpr char kEverythingText[] = R"(
  instance {
    service: 'web' id: 'web-1' namespace: 'shop' node: 'n1' address: '10.0.0.7'
    additional_addresses: 'fd00::7' port: 8080 named_ports { key: 'admin' value: 8081 }
    tags: 'blue' tags: '1' tags: 'true'
    metadata { key: 'k' value: '3' } metadata { key: 'a b' value: '' }
    weight { passing: 3 warning: 1 } locality { region: 'r1' zone: 'z1' sub_zone: 'rack 4' }
    version: '2.70' protocol: 'http'
    checks {
      id: 'health' name: 'Health'
      http { url: '/health' method: 'POST' headers { key: 'Host' value: 'api' }
             headers { key: 'X-A' value: 'b' } body: '{"a": 1}'
             expected_status { first: 200 last: 204 } expected_status { first: 302 last: 302 }
             body_contains: 'ok' tls: true tls_skip_verify: true tls_server_name: 'api.local' }
      interval { seconds: 5 } timeout { seconds: 1 nanos: 500000000 }
      failing_interval { seconds: 1 } success_before_passing: 2 failures_before_warning: 1
      failures_before_critical: 3 initial_status: PASSING
      deregister_after_critical { seconds: 5400 }
    }
    checks { tcp {} }
    checks { tcp { target: '10.0.0.7:6379' } initial_status: WARNING }
    checks { grpc { service: 'shop.Cart' target: '[::1]:50051' } }
    checks { id: 'main' ttl { ttl { seconds: 30 } } }
  }
  ttl { seconds: 15 })";

TEST(InstanceFileTest, EverythingOfAnInstance) {
  const auto requests = ParseInstances(kEverything, "web.yaml");
  ASSERT_TRUE(requests.ok()) << requests.status();
  ASSERT_EQ(requests->size(), 1u);
  EXPECT_TRUE(MessageDifferencer::Equals(requests->front(), Request(kEverythingText)))
      << requests->front().DebugString();
}

// What describe -o json prints as the instance can be registered again.
TEST(InstanceFileTest, ProtoJsonIsReadAsItWasWritten) {
  const v1::Instance instance = Request(kEverythingText).instance();
  for (const bool names_of_proto : {false, true}) {
    google::protobuf::util::JsonPrintOptions options;
    options.preserve_proto_field_names = names_of_proto;
    options.add_whitespace = names_of_proto;
    std::string json;
    ASSERT_TRUE(google::protobuf::util::MessageToJsonString(instance, &json, options).ok());
    const auto requests = ParseInstances(json, "web.json");
    ASSERT_TRUE(requests.ok()) << requests.status() << json;
    EXPECT_TRUE(MessageDifferencer::Equals(requests->front().instance(), instance)) << json;
  }
  EXPECT_EQ(Error(R"({"checks": [{"http": {"body": "no base64!"}}]})"),
            "web.yaml:1: \"checks[0].http.body\" is \"no base64!\"; allowed: bytes as base64");
  EXPECT_EQ(ParseInstances("{service: a, checks: [{http: {body: 'x!'}}]}", "a")
                ->front()
                .instance()
                .checks(0)
                .http()
                .body(),
            "x!");
}

TEST(InstanceFileTest, SeveralDocumentsOrAList) {
  for (const char* text : {
           "service: a\nport: 1\n---\n---\nservice: b\npermanent: true\n...\n",
           "instances:\n- service: a\n  port: 1\n- {service: b, permanent: true}\n",
           "instances: [{service: a, port: 1}]\n--- {service: b, permanent: true}\n",
           "{\"service\": \"a\", \"port\": 1}\n{\"service\": \"b\", \"permanent\": true}\n",
       }) {
    const auto requests = ParseInstances(text, "web.yaml");
    ASSERT_TRUE(requests.ok()) << text << requests.status();
    ASSERT_EQ(requests->size(), 2u) << text;
    EXPECT_TRUE(
        MessageDifferencer::Equals((*requests)[0], Request("instance { service: 'a' port: 1 }")));
    EXPECT_TRUE(MessageDifferencer::Equals((*requests)[1],
                                           Request("instance { service: 'b' } permanent: true")));
  }
}

TEST(InstanceFileTest, SectionsAndListsMayHoldNothing) {
  const auto requests =
      ParseInstances("service: a\ntags:\nmetadata: ~\nchecks:\nlocality:\n  # zone: z\n", "a");
  ASSERT_TRUE(requests.ok()) << requests.status();
  EXPECT_TRUE(MessageDifferencer::Equals(requests->front(),
                                         Request("instance { service: 'a' locality {} }")));
}

TEST(InstanceFileTest, WhatIsWrongIsNamedWithItsLine) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", ": holds no instance"},
      {"# nothing\n---\n---\n", ": holds no instance"},
      {"instances: []", ": holds no instance"},
      {"\n\nweb", ":3: an instance is a section of keys, such as service: web"},
      {"- service: a\n", ":1: an instance is a section of keys, such as service: web"},
      {"instances: {service: a}\n",
       ":1: \"instances\" is no list; allowed: a list, each a section of keys"},
      {"instances:\n- service: a\n- b\n",
       ":3: an instance is a section of keys, such as service: web"},
      {"instances:\n- service: a\nservice: b\n",
       ":3: a key beside \"instances\"; allowed: the list alone"},
      {"service: web\npor: 80\n", ":2: unknown key \"por\"; did you mean \"port\"?"},
      {"service: web\npermanant: true\n",
       ":2: unknown key \"permanant\"; did you mean \"permanent\"?"},
      {"service: web\nlife_id: abc\n",
       ":2: unknown key \"life_id\"; allowed: namespace, service, node, id, address, "
       "additional_addresses, port, named_ports, tags, metadata, weight, locality, version, "
       "protocol, checks, ttl, permanent"},
      {"service: web\nchecks:\n- http:\n    url: /\n    metod: GET\n",
       ":5: unknown key \"checks[0].http.metod\"; did you mean \"method\"?"},
      {"service: a\nservice: b\n", ":2: \"service\" is given twice"},
      {"{additionalAddresses: [a],\nadditional_addresses: [b]}\n",
       ":2: \"additional_addresses\" is given twice"},
      {"metadata:\n  k: 1\n  k: 2\n", ":3: \"metadata.k\" is given twice"},
      {"checks:\n- tcp:\n  http: {url: /}\n",
       ":3: \"checks[0].http\" and \"checks[0].tcp\" are both given; allowed: one of them"},
      {"ttl: 3s\npermanent: true\n",
       ":1: \"ttl\" and \"permanent\" are both given; allowed: one of them"},
      {"service:\n", ":1: \"service\" is nothing; allowed: a text"},
      {"service: [a]\n", ":1: \"service\" is a list; allowed: a text"},
      {"service: {a: b}\n", ":1: \"service\" is a section of keys; allowed: a text"},
      {"service: \"\\uD800\"\n", ":1: is no YAML: invalid unicode: 55296"},
      {"port: -1\n", ":1: \"port\" is \"-1\"; allowed: a whole number from 0 to 4294967295"},
      {"port: 80.5\n", ":1: \"port\" is \"80.5\"; allowed: a whole number from 0 to 4294967295"},
      {"port: ' 80'\n", ":1: \"port\" is \" 80\"; allowed: a whole number from 0 to 4294967295"},
      {"port: 4294967296\n",
       ":1: \"port\" is \"4294967296\"; allowed: a whole number from 0 to 4294967295"},
      {"port:\n", ":1: \"port\" is nothing; allowed: a whole number from 0 to 4294967295"},
      {"tags: blue\n", ":1: \"tags\" is \"blue\"; allowed: a list, each a text"},
      {"tags:\n- a\n-\n", ":1: \"tags[1]\" is nothing; allowed: a text"},
      {"tags:\n- a\n- [b]\n", ":3: \"tags[1]\" is a list; allowed: a text"},
      {"metadata: [a]\n", ":1: \"metadata\" is a list; allowed: a section of names and values"},
      {"metadata:\n  a: [b]\n", ":2: \"metadata.a\" is a list; allowed: a text"},
      {"metadata:\n  a:\n", ":2: \"metadata.a\" is nothing; allowed: a text"},
      {"metadata:\n  [a]: b\n", ":2: \"metadata (a name)\" is a list; allowed: a text"},
      {"named_ports: {a: b}\n",
       ":1: \"named_ports.a\" is \"b\"; allowed: a whole number from 0 to 4294967295"},
      {"locality: z1\n", ":1: \"locality\" is \"z1\"; allowed: a section of keys"},
      {"[a]: b\n", ":1: a key is a list; allowed: a text"},
      {"permanent: yes\n", ":1: \"permanent\" is \"yes\"; allowed: true, false"},
      {"ttl: 10\n", ":1: \"ttl\" is \"10\"; allowed: a duration such as 250ms, 30s, 1h30m"},
      {"ttl: {seconds: 10}\n",
       ":1: \"ttl\" is a section of keys; allowed: a duration such as 250ms, 30s, 1h30m"},
      {"ttl:\n", ":1: \"ttl\" is nothing; allowed: a duration such as 250ms, 30s, 1h30m"},
      {"checks: {tcp: {}}\n",
       ":1: \"checks\" is a section of keys; allowed: a list, each a section of keys"},
      {"checks:\n- tcp\n", ":2: \"checks[0]\" is \"tcp\"; allowed: a section of keys"},
      {"checks:\n-\n", ":1: \"checks[0]\" is nothing; allowed: a section of keys"},
      {"checks:\n- tcp: {}\n  initial_status: good\n",
       ":3: \"checks[0].initial_status\" is \"good\"; allowed: PASSING, WARNING, CRITICAL"},
      {"checks:\n- tcp: {}\n  initial_status: health_unspecified\n",
       ":3: \"checks[0].initial_status\" is \"health_unspecified\"; allowed: PASSING, WARNING, "
       "CRITICAL"},
      {"checks:\n- tcp: {}\n  interval: soon\n",
       ":3: \"checks[0].interval\" is \"soon\"; allowed: a duration such as 250ms, 30s, 1h30m"},
      {"service: a\n---\nservice: b\n...\n, c\n", ":5: belongs to no document"},
      {"service: a\n, b\n", ":2: is no YAML: end of map not found"},
      {"{service: a\n", ":2: is no YAML: end of map flow not found"},
      {"]", ":1: is no YAML: illegal flow end"},
      {"a: &x b\nservice: *x\n",
       ":2: is no YAML: an alias (*name) is not allowed; write out what it is"},
      {"service: *x\n", ":1: is no YAML: the referenced anchor is not defined"},
      {std::string(17, '[') + std::string(17, ']'), ":1: is no YAML: more than 16 levels"},
      {std::string(400'000, '['), ":1: is no YAML: more than 16 levels"},
      {"service: \"\xff\"\n", ": is not UTF-8"},
      {std::string((1 << 20) + 1, ' '), ": has more than 1048576 bytes"},
      {"\"\\e[31m\": 1\n",
       ":1: unknown key \"\\x1b[31m\"; allowed: namespace, service, node, id, address, "
       "additional_addresses, port, named_ports, tags, metadata, weight, locality, version, "
       "protocol, checks, ttl, permanent"},
  };
  for (const auto& [text, what] : cases) {
    EXPECT_EQ(Error(text), "web.yaml" + what) << text.substr(0, 200);
    EXPECT_TRUE(absl::IsInvalidArgument(ParseInstances(text, "web.yaml").status()));
  }
}

TEST(InstanceFileTest, SizesAreBounded) {
  std::string many = "tags:\n";
  for (int i = 0; i < 100'001; ++i) many += "- a\n";
  EXPECT_EQ(Error(many), "web.yaml:99999: is no YAML: more than 100000 values");
  std::string instances = "instances:\n";
  for (int i = 0; i < 1'000; ++i) instances += "- {service: a}\n";
  EXPECT_EQ(ParseInstances(instances, "a")->size(), 1'000u);
  EXPECT_EQ(Error(instances + "- {service: a}\n"), "web.yaml:1002: more than 1000 instances");
  std::string documents;
  for (int i = 0; i < 1'001; ++i) documents += "--- {service: a}\n";
  EXPECT_EQ(Error(documents), "web.yaml:1001: more than 1000 documents");
}

TEST(InstanceFileTest, TheNameOfTheFileIsEscaped) {
  EXPECT_EQ(std::string(ParseInstances("x", "a\x1b[31m").status().message()),
            "a\\x1b[31m:1: an instance is a section of keys, such as service: web");
}

// Whatever a file holds, there are instances or an error that a terminal can show and that names
// the file.
TEST(InstanceFileTest, TextsByChance) {
  const std::vector<std::string> parts = {"service: a\n",
                                          "- ",
                                          "[",
                                          "]",
                                          "{",
                                          "}",
                                          ",",
                                          ": ",
                                          "? ",
                                          "\n",
                                          "\n  ",
                                          "\n    ",
                                          "&a ",
                                          "*a ",
                                          "---\n",
                                          "...\n",
                                          "checks:\n",
                                          "- http:\n",
                                          "url: /\n",
                                          "ttl: 3s\n",
                                          "!!str ",
                                          "!<",
                                          "|\n",
                                          ">-\n",
                                          "\"",
                                          "'",
                                          "\\",
                                          "#",
                                          "%YAML 1.2\n",
                                          "%",
                                          "\t",
                                          "~",
                                          "<<: ",
                                          "\x1b",
                                          "é",
                                          "\xff",
                                          std::string(1, '\0'),
                                          "\xEF\xBB\xBF",
                                          "metadata: {a: b}\n",
                                          "instances:\n",
                                          "@",
                                          "`"};
  base::SeededRng rng(20261127);
  int good = 0;
  for (int i = 0; i < 12'000; ++i) {
    std::string text;
    // Half of them are a file with something put in or taken out.
    if (i % 2 == 0) {
      text = kEverything;
      const size_t at = rng.Uniform(text.size());
      text.replace(at, rng.Uniform(4), parts[rng.Uniform(parts.size())]);
    } else {
      for (uint64_t n = rng.Uniform(12); n > 0; --n) text += parts[rng.Uniform(parts.size())];
    }
    const auto requests = ParseInstances(text, "web.yaml");
    good += requests.ok() ? 1 : 0;
    if (requests.ok()) {
      EXPECT_FALSE(requests->empty());
      continue;
    }
    const std::string message(requests.status().message());
    EXPECT_EQ(message.substr(0, 9), "web.yaml:") << message;
    EXPECT_TRUE(base::IsPrintableUtf8(message)) << message;
  }
  EXPECT_GT(good, 500);
}

}  // namespace
}  // namespace muster::cli

// Checks that the registry runs, as an application says them and as they are sent.
#include "client/lease/check_wire.h"

#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "client/lease/instance_request.h"

namespace muster::client {
namespace {

using google::protobuf::util::MessageDifferencer;

v1::Check Wire(const std::string& text) {
  v1::Check check;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &check)) << text;
  return check;
}

struct Pair {
  Check check;
  std::string wire;
};

std::vector<Pair> Pairs() {
  return {
      {{}, "tcp {}"},
      {{.id = "ready", .kind = HttpCheck{.url = "/ready"}}, "id: 'ready' http { url: '/ready' }"},
      {{.id = "all",
        .name = "everything",
        .kind = HttpCheck{.url = "https://10.0.0.7/x",
                          .method = "POST",
                          .headers = {{"Host", "api"}, {"X-A", "b"}},
                          .body = std::string("a\0\xff", 3),
                          .expected_status = {{200, 204}, {302, 302}},
                          .body_contains = "up",
                          .tls = true,
                          .tls_skip_verify = true,
                          .tls_server_name = "api.local"},
        .interval = absl::Seconds(2),
        .timeout = absl::Milliseconds(1'500),
        .failing_interval = absl::Seconds(1),
        .success_before_passing = 2,
        .failures_before_warning = 3,
        .failures_before_critical = 100,
        .initial_status = Endpoint::Health::kPassing,
        .deregister_after_critical = absl::Hours(24 * 365)},
       R"(id: 'all' name: 'everything'
          http { url: 'https://10.0.0.7/x' method: 'POST'
                 headers { key: 'Host' value: 'api' } headers { key: 'X-A' value: 'b' }
                 body: 'a\000\377' expected_status { first: 200 last: 204 }
                 expected_status { first: 302 last: 302 } body_contains: 'up' tls: true
                 tls_skip_verify: true tls_server_name: 'api.local' }
          interval { seconds: 2 } timeout { seconds: 1 nanos: 500000000 }
          failing_interval { seconds: 1 } success_before_passing: 2 failures_before_warning: 3
          failures_before_critical: 100 initial_status: PASSING
          deregister_after_critical { seconds: 31536000 })"},
      {{.kind = TcpCheck{.target = "10.0.0.7:6379", .tls = true, .tls_server_name = "db"},
        .initial_status = Endpoint::Health::kWarning},
       "tcp { target: '10.0.0.7:6379' tls: true tls_server_name: 'db' } initial_status: WARNING"},
      {{.kind =
            GrpcCheck{.target = "[::1]:50051", .service = "shop.Cart", .tls_skip_verify = true}},
       "grpc { target: '[::1]:50051' service: 'shop.Cart' tls_skip_verify: true }"},
  };
}

TEST(CheckWireTest, EachIsSentAsItIsAndReadBack) {
  for (const auto& [check, wire] : Pairs()) {
    EXPECT_TRUE(MessageDifferencer::Equals(ToWire(check), Wire(wire)))
        << ToWire(check).DebugString() << wire;
    EXPECT_EQ(FromWire(Wire(wire)), check) << wire;
  }
}

TEST(CheckWireTest, AnInstanceBringsThemAfterItsOwn) {
  Instance instance{.service = "api"};
  instance.ttl_checks = {{.id = "self"}};
  instance.checks = {{.id = "ready", .kind = HttpCheck{.url = "/ready"}}, {}, {}};
  const auto request = ToRegister(instance, {});
  ASSERT_TRUE(request.ok()) << request.status();
  ASSERT_EQ(request->instance().checks_size(), 4);
  EXPECT_TRUE(request->instance().checks(0).has_ttl());
  EXPECT_EQ(request->instance().checks(1).http().url(), "/ready");
  // Those without an id get one from the registry.
  EXPECT_TRUE(request->instance().checks(2).has_tcp());
  EXPECT_EQ(request->instance().checks(3).id(), "");
}

TEST(CheckWireTest, WhatTheRegistryWouldRefuseIsRefusedHere) {
  const auto expect = [](const std::string& message, const std::function<void(Check&)>& spoil) {
    Instance instance{.service = "api"};
    instance.ttl_checks = {{.id = "self"}};
    instance.checks = {{.id = "x", .kind = HttpCheck{.url = "/"}}};
    spoil(instance.checks.front());
    const absl::Status status = ToRegister(instance, {}).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_EQ(std::string(status.message()), message);
  };
  expect("checks: \"self\" is there twice", [](Check& c) { c.id = "self"; });
  expect("checks: of \"x\", url: there is none; allowed: a path such as /health, or a full URL",
         [](Check& c) { c.kind = HttpCheck{}; });
  expect("checks: url: there is none; allowed: a path such as /health, or a full URL",
         [](Check& c) { c = {.kind = HttpCheck{}}; });
  expect("checks: of \"x\", interval: 999ms; allowed: 1s to 24h",
         [](Check& c) { c.interval = absl::Milliseconds(999); });
  expect("checks: of \"x\", interval: inf; allowed: 1s to 24h",
         [](Check& c) { c.interval = absl::InfiniteDuration(); });
  expect("checks: of \"x\", failing_interval: 25h; allowed: 1s to 24h",
         [](Check& c) { c.failing_interval = absl::Hours(25); });
  expect("checks: of \"x\", timeout: -1s; allowed: 1ms to 24h",
         [](Check& c) { c.timeout = -absl::Seconds(1); });
  expect("checks: of \"x\", deregister_after_critical: 10ms; allowed: 1s to 8760h",
         [](Check& c) { c.deregister_after_critical = absl::Milliseconds(10); });
  expect("checks: of \"x\", success_before_passing: 101; allowed: 0 to 100",
         [](Check& c) { c.success_before_passing = 101; });
  expect("checks: of \"x\", failures_before_warning: 200; allowed: 0 to 100",
         [](Check& c) { c.failures_before_warning = 200; });
  expect("checks: of \"x\", failures_before_critical: 4294967295; allowed: 0 to 100",
         [](Check& c) { c.failures_before_critical = 4'294'967'295; });
  expect("checks: of \"x\", name: \"\\xff\" is no UTF-8", [](Check& c) { c.name = "\xff"; });
  expect("checks: of \"x\", headers: \"\\xff\" is no UTF-8", [](Check& c) {
    c.kind = HttpCheck{.url = "/", .headers = {{"a", "\xff"}}};
  });
  expect("checks: of \"x\", target: \"\\xff\" is no UTF-8",
         [](Check& c) { c.kind = TcpCheck{.target = "\xff"}; });
  expect("checks: of \"x\", service: \"\\xff\" is no UTF-8",
         [](Check& c) { c.kind = GrpcCheck{.service = "\xff"}; });
}

TEST(CheckWireTest, NoIdIsThereTwice) {
  Instance instance{.service = "api"};
  instance.checks = {{.id = "x"}, {.id = "y"}};
  EXPECT_TRUE(CheckServerChecks(instance).ok());
  instance.checks[1].id = "x";
  EXPECT_EQ(std::string(CheckServerChecks(instance).message()), "checks: \"x\" is there twice");
}

}  // namespace
}  // namespace muster::client

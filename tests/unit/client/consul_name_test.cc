#include "client/consul_name.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace muster::client {
namespace {

Query Of(std::string service, std::vector<std::string> tags = {}, std::string datacenter = "") {
  return {
      .service = std::move(service), .tags = std::move(tags), .datacenter = std::move(datacenter)};
}

TEST(ConsulNameTest, IsOneByItsEnd) {
  for (const char* name :
       {"api.service.consul", "api.service.Consul.", "x.node.consul", ".consul"}) {
    EXPECT_TRUE(IsConsulName(name)) << name;
  }
  for (const char* name : {"consul", "api.service.consul.example", "apiconsul", ""}) {
    EXPECT_FALSE(IsConsulName(name)) << name;
  }
}

// The forms of Consul's DNS interface.
TEST(ConsulNameTest, SaysServiceTagAndDatacenter) {
  for (const auto& [name, query] : std::vector<std::pair<std::string, Query>>{
           {"api.service.consul", Of("api")},
           {"api.service.consul.", Of("api")},
           {"API.Service.CONSUL", Of("API")},
           {"v2.api.service.consul", Of("api", {"v2"})},
           {"v2.1.api.service.consul", Of("api", {"v2.1"})},
           {"api.service.dc1.consul", Of("api", {}, "dc1")},
           {"v2.api.service.dc1.consul", Of("api", {"v2"}, "dc1")},
           {"api.service.dc1.dc.consul", Of("api", {}, "dc1")},
           {"_api._tcp.service.consul", Of("api")},
           {"_api._TCP.service.dc1.consul", Of("api", {}, "dc1")},
           {"_api._tcp.consul", Of("api")},
           {"_api._tcp.dc1.dc.consul", Of("api", {}, "dc1")},
           {"_api._v2.service.consul", Of("api", {"v2"})},
           {"_api._udp.service.consul", Of("api", {"udp"})},
           {"service.service.consul", Of("service")},
           {"service.service.dc1.consul", Of("service", {}, "dc1")},
           {"service.api.service.consul", Of("api", {"service"})}}) {
    const auto parsed = ParseConsulName(name);
    ASSERT_TRUE(parsed.ok()) << name << ": " << parsed.status();
    EXPECT_EQ(*parsed, query) << name;
  }
}

TEST(ConsulNameTest, OtherNamesAreRefused) {
  for (const char* name :
       {"api.consul", "service.consul", ".service.consul", "a..service.consul", "n.node.consul",
        "q.query.consul", "api.connect.consul", "api.service.dc1.x.consul",
        "_api.service.x.y.consul", "_api._tcp.service.a.b.consul", "a!.service.consul",
        "0a000001.addr.dc1.consul"}) {
    EXPECT_FALSE(ParseConsulName(name).ok()) << name;
  }
}

}  // namespace
}  // namespace muster::client

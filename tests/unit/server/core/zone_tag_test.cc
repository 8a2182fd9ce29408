#include "server/core/zone_tag.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "muster/v1/types.pb.h"

namespace muster::core {
namespace {

TEST(ZoneTag, TellsZonesApart) {
  std::set<uint32_t> tags;
  for (int i = 0; i < 1000; ++i) tags.insert(ZoneTag(absl::StrCat("eu-central-", i)));
  EXPECT_EQ(tags.size(), 1000u);
  EXPECT_EQ(ZoneTag("z1"), ZoneTag(std::string("z1")));
  EXPECT_NE(ZoneTag(""), ZoneTag("z1"));
}

// A field of each kind stands before the locality.
v1::Endpoint Full() {
  v1::Endpoint endpoint;
  endpoint.set_id("a");
  endpoint.set_address("10.0.0.1");
  endpoint.set_port(70'000);
  (*endpoint.mutable_named_ports())["http"] = 80;
  endpoint.add_tags(std::string(300, 't'));
  endpoint.mutable_weight()->set_passing(1);
  endpoint.mutable_locality()->set_region("eu");
  endpoint.mutable_locality()->set_zone("z1");
  endpoint.mutable_locality()->set_sub_zone("rack");
  endpoint.set_version("2");
  return endpoint;
}

TEST(ZoneOf, IsThatOfTheLocality) {
  v1::Endpoint endpoint = Full();
  EXPECT_EQ(ZoneOf(endpoint.SerializeAsString()), "z1");
  endpoint.mutable_locality()->clear_zone();
  EXPECT_EQ(ZoneOf(endpoint.SerializeAsString()), "");
  endpoint.clear_locality();
  EXPECT_EQ(ZoneOf(endpoint.SerializeAsString()), "");
  EXPECT_EQ(ZoneOf(""), "");
}

TEST(ZoneOf, TakesFieldsOfEveryWireType) {
  const std::string known = Full().SerializeAsString();
  EXPECT_EQ(ZoneOf(absl::StrCat(std::string("\x81\x06", 2), "12345678", known)), "z1");
  EXPECT_EQ(ZoneOf(absl::StrCat(std::string("\x85\x06", 2), "1234", known)), "z1");
}

TEST(ZoneOf, IsNoneOfBytesThatAreNoEndpoint) {
  const std::string whole = Full().SerializeAsString();
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string part = whole.substr(0, size);
    const auto zone = ZoneOf(part);
    EXPECT_TRUE(zone.empty() || zone == "z1") << size;
  }
  EXPECT_EQ(ZoneOf(std::string(20, '\xff')), "");
  EXPECT_EQ(ZoneOf("\x0b"), "") << "a group";
}

}  // namespace
}  // namespace muster::core

#include "server/core/definition.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/rng.h"

namespace muster::core {
namespace {

class DefinitionTest : public ::testing::Test {
 protected:
  std::string Text(size_t max) {
    return std::string(rng_.Uniform(max + 1), static_cast<char>('a' + rng_.Uniform(26)));
  }
  bool Half() { return rng_.Uniform(2) == 0; }

  // Anything or nothing in each field.
  v1::Instance RandomInstance() {
    v1::Instance out;
    for (uint64_t i = rng_.Uniform(4); i > 0; --i) out.add_additional_addresses(Text(200));
    if (Half()) out.set_port(static_cast<uint32_t>(rng_.Uniform(65536)));
    for (uint64_t i = rng_.Uniform(4); i > 0; --i) {
      (*out.mutable_named_ports())[Text(5)] = static_cast<uint32_t>(rng_.Uniform(3) * 40000);
    }
    for (uint64_t i = rng_.Uniform(4); i > 0; --i) out.add_tags(Text(200));
    for (uint64_t i = rng_.Uniform(40); i > 0; --i) {
      (*out.mutable_metadata())[absl::StrCat(Text(2), i)] = Text(i == 1 ? 20'000 : 5);
    }
    if (Half()) {
      out.mutable_weight()->set_passing(static_cast<uint32_t>(rng_.Uniform(3) * 30000));
      out.mutable_weight()->set_warning(static_cast<uint32_t>(rng_.Uniform(3)));
    }
    if (Half()) out.mutable_locality()->set_region(Text(3));
    if (Half()) out.mutable_locality()->set_zone(Text(3));
    if (Half()) out.mutable_locality()->set_sub_zone(Text(3));
    if (Half()) out.set_version(Text(130));
    if (Half()) out.set_protocol(Text(5));
    return out;
  }

  base::SeededRng rng_{7};
};

v1::Endpoint EndpointOf(const v1::Instance& instance, const storage::InstanceKey& key,
                        const std::string& address) {
  v1::Endpoint out;
  out.set_node(key.node);
  out.set_id(key.id);
  out.set_address(address);
  *out.mutable_additional_addresses() = instance.additional_addresses();
  out.set_port(instance.port());
  *out.mutable_named_ports() = instance.named_ports();
  *out.mutable_tags() = instance.tags();
  *out.mutable_metadata() = instance.metadata();
  *out.mutable_weight() = instance.weight();
  if (!instance.has_weight()) {
    out.mutable_weight()->set_passing(1);
    out.mutable_weight()->set_warning(1);
  }
  if (instance.locality().ByteSizeLong() > 0) *out.mutable_locality() = instance.locality();
  out.set_version(instance.version());
  out.set_protocol(instance.protocol());
  return out;
}

TEST_F(DefinitionTest, AnEndpointHasTheBytesOfItsMessage) {
  for (int i = 0; i < 3000; ++i) {
    const v1::Instance instance = RandomInstance();
    storage::InstanceKey key;
    key.node = Text(255);
    key.id = Text(255);
    const std::string address = Text(253);
    std::string bytes;
    AppendDeterministic(EndpointOf(instance, key, address), bytes);
    ASSERT_EQ(EncodeEndpoint(instance, key, address), bytes) << instance.DebugString();
  }
}

TEST_F(DefinitionTest, WhatAnEndpointDoesNotKnowIsLeftOut) {
  v1::Instance instance;
  instance.set_port(80);
  instance.mutable_locality()->set_zone("z");
  const std::string bytes = EncodeEndpoint(instance, {}, "10.0.0.1");
  const std::string unknown("\xa2\x06\x03xyz", 6);
  v1::Instance later;
  ASSERT_TRUE(later.ParseFromString(instance.SerializeAsString() + unknown));
  ASSERT_TRUE(later.mutable_locality()->MergeFromString(unknown));
  EXPECT_EQ(EncodeEndpoint(later, {}, "10.0.0.1"), bytes);
}

TEST_F(DefinitionTest, TheOrderOfAMapIsThatOfItsKeys) {
  v1::Check up, down;
  for (int i = 0; i < 100; ++i) {
    (*up.mutable_http()->mutable_headers())[absl::StrCat("h", i)] = "v";
    (*down.mutable_http()->mutable_headers())[absl::StrCat("h", 99 - i)] = "v";
  }
  std::string a = "before", b = "before";
  AppendDeterministic(up, a);
  AppendDeterministic(down, b);
  EXPECT_EQ(a, b);
  v1::Check again;
  ASSERT_TRUE(again.ParseFromString(a.substr(6)));
  EXPECT_EQ(again.http().headers().size(), 100);
}

TEST_F(DefinitionTest, TheDigestKnowsWhereOnePartEnds) {
  google::protobuf::RepeatedPtrField<v1::Check> checks;
  checks.Add()->set_id("a");
  const std::string bytes = checks[0].SerializeAsString();
  EXPECT_NE(DigestOf(bytes, {}), DigestOf("", checks));
  EXPECT_NE(DigestOfEncoded("ab", {"c"}), DigestOfEncoded("a", {"bc"}));
  EXPECT_NE(DigestOfEncoded("a", {"b", "c"}), DigestOfEncoded("a", {"bc"}));
  EXPECT_NE(DigestOfEncoded("a", {"b", "c"}), DigestOfEncoded("a", {"c", "b"}));
  EXPECT_NE(DigestOfEncoded("a", {""}), DigestOfEncoded("a", {}));
}

}  // namespace
}  // namespace muster::core

#include "server/core/instance.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/text.h"

namespace muster::core {
namespace {

using base::Reason;
using testing::HasSubstr;
using testing::MatchesRegex;

v1::Instance Sample() {
  v1::Instance out;
  out.set_service("Api");
  out.set_node("node-1");
  out.set_id("api-1");
  out.set_address("10.0.0.1");
  out.set_port(8080);
  return out;
}

absl::StatusOr<NormalInstance> Normal(const v1::Instance& instance) {
  return Normalise(instance, "", true);
}

v1::Endpoint EndpointOf(const NormalInstance& instance) {
  v1::Endpoint out;
  EXPECT_TRUE(out.ParseFromString(instance.endpoint));
  return out;
}

// Serialized with every map in the opposite order of insertion.
v1::Instance WithMaps(bool backwards) {
  v1::Instance out = Sample();
  for (int i = 0; i < 16; ++i) {
    const std::string key = absl::StrCat("k", backwards ? 15 - i : i);
    (*out.mutable_metadata())[key] = "v" + key;
    (*out.mutable_named_ports())[key] = 7;
  }
  v1::Check* check = out.add_checks();
  for (int i = 0; i < 16; ++i) {
    const std::string key = absl::StrCat("k", backwards ? 15 - i : i);
    (*check->mutable_http()->mutable_headers())[key] = "v";
  }
  check->mutable_http()->set_url("/health");
  return out;
}

TEST(NameTest, IsGivenBackInLowerCase) {
  EXPECT_EQ(*NormalName("service name", "Api_v1.EU-west", "service"), "api_v1.eu-west");
  EXPECT_TRUE(NormalName("service name", std::string(128, 'a'), "service").ok());
}

TEST(NameTest, SaysWhatIsWrong) {
  const auto message = [](std::string_view name) {
    const absl::Status status = NormalName("service name", name, "instance.service").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(base::ReasonOf(status), Reason::kNameInvalid);
    EXPECT_EQ(base::FieldOf(status), "instance.service");
    return std::string(status.message());
  };
  EXPECT_EQ(message("a b"), "service name \"a b\" contains ' ' at 1; allowed: A-Z a-z 0-9 . _ -");
  EXPECT_EQ(message("naïve"),
            "service name \"naïve\" contains 'ï' at 2; allowed: A-Z a-z 0-9 . _ -");
  EXPECT_EQ(message("a\x1b[2J"),
            "service name \"a\\x1b[2J\" contains '\\x1b' at 1; allowed: A-Z a-z 0-9 . _ -");
  EXPECT_EQ(message(std::string_view("a\0b", 3)),
            "service name \"a\\x00b\" contains '\\x00' at 1; allowed: A-Z a-z 0-9 . _ -");
  EXPECT_EQ(message(""), "service name is empty; allowed: 1 to 128 of A-Z a-z 0-9 . _ -");
  EXPECT_EQ(message(std::string(129, 'a')), absl::StrCat("service name \"", std::string(64, 'a'),
                                                         "…\" has 129 bytes; at most 128"));
}

TEST(KeyTest, FillsInTheNamespaceAndFoldsCase) {
  v1::InstanceKey key;
  key.set_service("API");
  key.set_node("Node");
  key.set_id("Id");
  const auto normal = NormalKey(key, "key");
  ASSERT_TRUE(normal.ok()) << normal.status();
  EXPECT_EQ(*normal, (storage::InstanceKey{"default", "api", "Node", "Id"}));
  key.set_namespace_("Prod");
  EXPECT_EQ(NormalKey(key, "key")->ns, "prod");
}

TEST(KeyTest, NamesTheFieldThatIsWrong) {
  const auto field = [](const std::function<void(v1::InstanceKey&)>& change) {
    v1::InstanceKey key;
    key.set_service("api");
    key.set_id("1");
    change(key);
    return base::FieldOf(NormalKey(key, "leases.key").status());
  };
  EXPECT_EQ(field([](auto&) {}), "");
  EXPECT_EQ(field([](auto& key) { key.clear_service(); }), "leases.key.service");
  EXPECT_EQ(field([](auto& key) { key.clear_id(); }), "leases.key.id");
  EXPECT_EQ(field([](auto& key) { key.set_namespace_("a/b"); }), "leases.key.namespace");
  EXPECT_EQ(field([](auto& key) { key.set_node(std::string("a\0b", 3)); }), "leases.key.node");
  EXPECT_EQ(field([](auto& key) { key.set_id(std::string(256, 'a')); }), "leases.key.id");
}

TEST(InstanceTest, KeepsWhatWasGiven) {
  v1::Instance given = Sample();
  given.set_namespace_("Prod");
  given.add_additional_addresses("2001:db8::1");
  (*given.mutable_named_ports())["metrics"] = 9090;
  given.add_tags("b");
  given.add_tags("a");
  (*given.mutable_metadata())["team"] = "";
  given.mutable_weight()->set_passing(10);
  given.mutable_locality()->set_zone("eu-1a");
  given.set_version("2.7.1");
  given.set_protocol("grpc");
  v1::Check* check = given.add_checks();
  check->set_id("live");
  check->mutable_ttl()->mutable_ttl()->set_seconds(30);
  const auto normal = Normal(given);
  ASSERT_TRUE(normal.ok()) << normal.status();
  EXPECT_EQ(normal->key, (storage::InstanceKey{"prod", "api", "node-1", "api-1"}));
  EXPECT_EQ(normal->display_name, "Api");

  storage::v1::InstanceRecord record;
  record.set_endpoint(normal->endpoint);
  for (const NormalCheck& check : normal->checks) {
    ASSERT_TRUE(record.add_checks()->ParseFromString(check.encoded));
  }
  const v1::Instance back = ToInstance({"prod", "api", "node-1", "api-1"}, "Api", record);
  given.set_namespace_("prod");
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(given, back))
      << back.DebugString();
}

TEST(InstanceTest, FillsInDefaults) {
  v1::Instance given;
  given.set_service("Api");
  given.set_port(80);
  const auto normal = Normalise(given, "192.0.2.7", false);
  ASSERT_TRUE(normal.ok()) << normal.status();
  EXPECT_EQ(normal->key.ns, "default");
  EXPECT_EQ(normal->key.node, "");
  const v1::Endpoint endpoint = EndpointOf(*normal);
  EXPECT_EQ(endpoint.address(), "192.0.2.7");
  EXPECT_EQ(endpoint.weight().passing(), 1u);
  EXPECT_EQ(endpoint.weight().warning(), 1u);
  EXPECT_FALSE(endpoint.has_locality());
  EXPECT_EQ(endpoint.health(), v1::HEALTH_UNSPECIFIED) << "views append it";
}

TEST(InstanceTest, TheDefaultIdIsStableAndTellsAddressesApart) {
  v1::Instance given = Sample();
  given.clear_id();
  const std::string id = Normal(given)->key.id;
  EXPECT_THAT(id, MatchesRegex("api-[0-9a-f]+"));
  EXPECT_EQ(id.size(), 4u + 16u);
  EXPECT_EQ(id, "api-b655a4a4783c5011") << "services find their records again by it";
  EXPECT_EQ(Normal(given)->key.id, id);
  given.set_port(8081);
  EXPECT_NE(Normal(given)->key.id, id);
  // The caller's own address gives the same id as the same address written out.
  given.set_port(8080);
  given.clear_address();
  EXPECT_EQ(Normalise(given, "10.0.0.1", true)->key.id, id);
}

TEST(InstanceTest, AWeightOfZeroIsKept) {
  v1::Instance given = Sample();
  given.mutable_weight()->set_passing(5);
  EXPECT_EQ(EndpointOf(*Normal(given)).weight().passing(), 5u);
  EXPECT_EQ(EndpointOf(*Normal(given)).weight().warning(), 0u);
  given.mutable_weight()->set_passing(0);
  EXPECT_TRUE(EndpointOf(*Normal(given)).has_weight());
  EXPECT_EQ(EndpointOf(*Normal(given)).weight().passing(), 0u);
  EXPECT_NE(Normal(given)->digest, Normal(Sample())->digest);
}

TEST(InstanceTest, ALoopbackCallerNeedsAnAddressWhereOthersListen) {
  v1::Instance given = Sample();
  given.clear_address();
  EXPECT_TRUE(Normalise(given, "127.0.0.1", true).ok());
  const absl::Status status = Normalise(given, "::1", false).status();
  EXPECT_EQ(base::FieldOf(status), "instance.address");
  EXPECT_EQ(status.message(),
            "address is empty and the call came from ::1, which other machines can't connect to; "
            "give one");
  EXPECT_EQ(Normalise(given, "", true).status().message(),
            "address is empty; allowed: an IP address or a host name");
  given.set_address("127.0.0.1");
  EXPECT_TRUE(Normalise(given, "::1", false).ok()) << "said so explicitly";
}

TEST(InstanceTest, EqualContentsHaveEqualBytesAndDigests) {
  const auto a = Normal(WithMaps(false));
  const auto b = Normal(WithMaps(true));
  ASSERT_TRUE(a.ok()) << a.status();
  EXPECT_EQ(a->endpoint, b->endpoint);
  EXPECT_EQ(a->digest, b->digest);
  // As it is when the store gives the record back.
  storage::v1::InstanceRecord record;
  record.set_endpoint(a->endpoint);
  for (const NormalCheck& check : a->checks) {
    ASSERT_TRUE(record.add_checks()->ParseFromString(check.encoded));
  }
  storage::v1::InstanceRecord stored;
  ASSERT_TRUE(stored.ParseFromString(record.SerializeAsString()));
  EXPECT_EQ(DigestOf(stored.endpoint(), stored.checks()), a->digest);
}

TEST(InstanceTest, EveryChangeOfADefinitionChangesTheDigest) {
  const Digest plain = Normal(WithMaps(false))->digest;
  const std::vector<std::function<void(v1::Instance&)>> changes = {
      [](auto& i) { i.set_id("api-2"); },
      [](auto& i) { i.set_node("node-2"); },
      [](auto& i) { i.set_address("10.0.0.2"); },
      [](auto& i) { i.set_port(1); },
      [](auto& i) { i.add_tags("t"); },
      [](auto& i) { (*i.mutable_metadata())["k1"] = "other"; },
      [](auto& i) { (*i.mutable_named_ports())["k1"] = 8; },
      [](auto& i) { i.set_version("1"); },
      [](auto& i) { i.mutable_locality()->set_region("r"); },
      [](auto& i) { (*i.mutable_checks(0)->mutable_http()->mutable_headers())["k1"] = "w"; },
      [](auto& i) { i.mutable_checks(0)->set_initial_status(v1::PASSING); },
      [](auto& i) { i.add_checks()->mutable_tcp(); },
      [](auto& i) { i.clear_checks(); },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    v1::Instance changed = WithMaps(false);
    changes[i](changed);
    const auto normal = Normal(changed);
    ASSERT_TRUE(normal.ok()) << i << ": " << normal.status();
    EXPECT_NE(normal->digest, plain) << "change " << i;
  }
}

TEST(InstanceTest, InitialHealthIsTheWorstOfTheChecks) {
  v1::Instance given = Sample();
  EXPECT_EQ(Normal(given)->initial_health, v1::PASSING);
  for (int i = 0; i < 2; ++i) {
    given.add_checks()->mutable_tcp();
    given.mutable_checks(i)->set_initial_status(v1::PASSING);
  }
  EXPECT_EQ(Normal(given)->initial_health, v1::PASSING);
  given.mutable_checks(1)->set_initial_status(v1::WARNING);
  EXPECT_EQ(Normal(given)->initial_health, v1::WARNING);
  given.mutable_checks(0)->clear_initial_status();
  EXPECT_EQ(Normal(given)->initial_health, v1::CRITICAL);
}

TEST(InstanceTest, ChecksGetIdsByPosition) {
  v1::Instance given = Sample();
  given.add_checks()->mutable_tcp();
  given.add_checks()->mutable_grpc();
  given.mutable_checks(1)->set_id("ready");
  given.add_checks()->mutable_tcp();
  const auto normal = Normal(given);
  ASSERT_TRUE(normal.ok()) << normal.status();
  EXPECT_EQ(normal->checks[0].id, "check-1");
  EXPECT_EQ(normal->checks[1].id, "ready");
  EXPECT_EQ(normal->checks[2].id, "check-3");
}

TEST(InstanceTest, AtMost16KiB) {
  v1::Instance given = Sample();
  for (int i = 0; i < 16; ++i) given.add_tags(std::string(1000, 'a'));
  ASSERT_LE(given.ByteSizeLong(), kMaxInstanceBytes);
  EXPECT_TRUE(Normal(given).ok());
  given.add_tags(std::string(1000, 'a'));
  const absl::Status status = Normal(given).status();
  EXPECT_EQ(base::ReasonOf(status), Reason::kInstanceTooLarge);
  EXPECT_EQ(base::FieldOf(status), "instance");
  EXPECT_EQ(status.message(),
            absl::StrCat("instance has ", given.ByteSizeLong(), " bytes; at most 16384"));
}

struct BadField {
  const char* name;
  std::function<void(v1::Instance&)> change;
  std::string field;
  std::string message;
};

class BadFieldTest : public testing::TestWithParam<BadField> {};

TEST_P(BadFieldTest, IsNamed) {
  v1::Instance given = Sample();
  ASSERT_TRUE(Normal(given).ok());
  GetParam().change(given);
  const absl::Status status = Normal(given).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(base::FieldOf(status), GetParam().field);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
  EXPECT_TRUE(base::IsPrintableUtf8({status.message().data(), status.message().size()}));
  EXPECT_LT(status.message().size(), 400u);
}

v1::Check& AddTcp(v1::Instance& i) {
  v1::Check* check = i.add_checks();
  check->mutable_tcp();
  return *check;
}

v1::Check::Http& AddHttp(v1::Instance& instance) {
  v1::Check::Http& http = *instance.add_checks()->mutable_http();
  http.set_url("/health");
  return http;
}

const BadField kBadFields[] = {
    {"NoService", [](auto& i) { i.clear_service(); }, "instance.service", "service name is empty"},
    {"Namespace", [](auto& i) { i.set_namespace_("a b"); }, "instance.namespace",
     "namespace \"a b\" contains ' ' at 1"},
    {"NodeWithNewline", [](auto& i) { i.set_node("a\nb"); }, "instance.node",
     "node \"a\\x0ab\" contains '\\x0a' at 1; allowed: printable UTF-8"},
    {"LongNode", [](auto& i) { i.set_node(std::string(256, 'n')); }, "instance.node",
     "has 256 bytes; at most 255"},
    {"IdWithNul", [](auto& i) { i.set_id(std::string("a\0b", 3)); }, "instance.id",
     "id \"a\\x00b\" contains '\\x00' at 1"},
    {"IdIsNotUtf8", [](auto& i) { i.set_id("a\xff"); }, "instance.id",
     "id is \"a\\xff\"; allowed: printable UTF-8"},
    {"AddressAnyV4", [](auto& i) { i.set_address("0.0.0.0"); }, "instance.address",
     "address is 0.0.0.0; give the address that clients are to connect to"},
    {"AddressAnyV6", [](auto& i) { i.set_address("::"); }, "instance.address", "address is ::"},
    {"AddressAnyMapped", [](auto& i) { i.set_address("::ffff:0.0.0.0"); }, "instance.address",
     "give the address"},
    {"AddressWithPort", [](auto& i) { i.set_address("10.0.0.1:80"); }, "instance.address",
     "address \"10.0.0.1:80\" contains ':' at 8; allowed: an IP address or a host name, without"},
    {"AddressWithSpace", [](auto& i) { i.set_address("a b"); }, "instance.address", "' ' at 1"},
    {"AddressOutOfRange", [](auto& i) { i.set_address("10.0.0.256"); }, "instance.address",
     "address is \"10.0.0.256\"; allowed: an IP address or a host name"},
    {"AddressEmptyLabel", [](auto& i) { i.set_address("a..b"); }, "instance.address", "1 to 63"},
    {"AddressDot", [](auto& i) { i.set_address("."); }, "instance.address", "1 to 63"},
    {"AddressHyphen", [](auto& i) { i.set_address("-a.example"); }, "instance.address", "'-'"},
    {"AddressLongLabel", [](auto& i) { i.set_address(std::string(64, 'a')); }, "instance.address",
     "1 to 63"},
    {"AddressLong",
     [](auto& i) {
       std::string host;
       for (int n = 0; n < 64; ++n) host += "abc.";
       i.set_address(host);
     },
     "instance.address", "has 256 bytes; at most 253"},
    {"AdditionalAny",
     [](auto& i) {
       i.add_additional_addresses("2001:db8::1");
       i.add_additional_addresses("::");
     },
     "instance.additional_addresses[1]", "additional_addresses[1] is ::"},
    {"AdditionalEmpty", [](auto& i) { i.add_additional_addresses(""); },
     "instance.additional_addresses[0]", "is empty"},
    {"AdditionalCount",
     [](auto& i) {
       for (int n = 0; n < 9; ++n) i.add_additional_addresses("10.0.0.2");
     },
     "instance.additional_addresses", "has 9 items; at most 8"},
    {"Port", [](auto& i) { i.set_port(70000); }, "instance.port",
     "port is 70000; allowed: 0 to 65535"},
    {"NamedPort", [](auto& i) { (*i.mutable_named_ports())["x"] = 65536; }, "instance.named_ports",
     "is 65536; allowed: 0 to 65535"},
    {"NamedPortName", [](auto& i) { (*i.mutable_named_ports())[""] = 1; }, "instance.named_ports",
     "is empty"},
    {"NamedPortCount",
     [](auto& i) {
       for (int n = 0; n < 17; ++n) (*i.mutable_named_ports())[absl::StrCat(n)] = 1;
     },
     "instance.named_ports", "has 17 items; at most 16"},
    {"EmptyTag",
     [](auto& i) {
       i.add_tags("a");
       i.add_tags("");
     },
     "instance.tags[1]", "tags[1] is empty; allowed: 1 to 1024 bytes"},
    {"LongTag", [](auto& i) { i.add_tags(std::string(1025, 't')); }, "instance.tags[0]",
     "has 1025 bytes; at most 1024"},
    {"TagWithControl", [](auto& i) { i.add_tags("a\x7f"); }, "instance.tags[0]", "'\\x7f' at 1"},
    {"TagWithC1Control", [](auto& i) { i.add_tags("a\xc2\x9b"); }, "instance.tags[0]",
     "allowed: printable UTF-8"},
    {"TagCount",
     [](auto& i) {
       for (int n = 0; n < 65; ++n) i.add_tags("t");
     },
     "instance.tags", "tags has 65 items; at most 64"},
    {"MetadataKey", [](auto& i) { (*i.mutable_metadata())[""] = "v"; }, "instance.metadata",
     "is empty"},
    {"LongMetadataKey", [](auto& i) { (*i.mutable_metadata())[std::string(129, 'k')] = "v"; },
     "instance.metadata", "has 129 bytes; at most 128"},
    {"LongMetadataValue", [](auto& i) { (*i.mutable_metadata())["k"] = std::string(513, 'v'); },
     "instance.metadata", "has 513 bytes; at most 512"},
    {"MetadataCount",
     [](auto& i) {
       for (int n = 0; n < 65; ++n) (*i.mutable_metadata())[absl::StrCat(n)] = "v";
     },
     "instance.metadata", "has 65 items; at most 64"},
    {"WeightPassing", [](auto& i) { i.mutable_weight()->set_passing(65536); },
     "instance.weight.passing", "weight.passing is 65536; allowed: 0 to 65535"},
    {"WeightWarning", [](auto& i) { i.mutable_weight()->set_warning(65536); },
     "instance.weight.warning", "weight.warning is 65536"},
    {"Zone", [](auto& i) { i.mutable_locality()->set_zone(std::string(129, 'z')); },
     "instance.locality.zone", "has 129 bytes; at most 128"},
    {"Version", [](auto& i) { i.set_version(std::string(129, '1')); }, "instance.version",
     "has 129 bytes; at most 128"},
    {"Protocol", [](auto& i) { i.set_protocol(std::string(33, 'p')); }, "instance.protocol",
     "has 33 bytes; at most 32"},
    {"CheckCount",
     [](auto& i) {
       for (int n = 0; n < 33; ++n) AddTcp(i);
     },
     "instance.checks", "has 33 items; at most 32"},
    {"CheckId", [](auto& i) { AddTcp(i).set_id(std::string(65, 'c')); }, "instance.checks[0].id",
     "has 65 bytes; at most 64"},
    {"CheckName", [](auto& i) { AddTcp(i).set_name(std::string(129, 'c')); },
     "instance.checks[0].name", "has 129 bytes; at most 128"},
    {"SameCheckId",
     [](auto& i) {
       AddTcp(i).set_id("a");
       AddTcp(i).set_id("b");
       AddTcp(i).set_id("a");
     },
     "instance.checks[2].id", "checks[2].id is \"a\", as that of checks[0]; ids have to differ"},
    {"SameCheckIdAsAGivenOne",
     [](auto& i) {
       AddTcp(i).set_id("check-2");
       AddTcp(i);
     },
     "instance.checks[1].id", "is \"check-2\", as that of checks[0]"},
    {"NoKind", [](auto& i) { i.add_checks(); }, "instance.checks[0].kind",
     "checks[0].kind is not set; allowed: http, tcp, grpc, ttl"},
    {"NoTtl", [](auto& i) { i.add_checks()->mutable_ttl(); }, "instance.checks[0].ttl.ttl",
     "checks[0].ttl.ttl is 0; allowed: 1s to 24h"},
    {"LongTtl", [](auto& i) { i.add_checks()->mutable_ttl()->mutable_ttl()->set_seconds(86401); },
     "instance.checks[0].ttl.ttl", "is 24h1s; allowed: 1s to 24h"},
    {"NoUrl", [](auto& i) { i.add_checks()->mutable_http(); }, "instance.checks[0].http.url",
     "is empty"},
    {"Body",
     [](auto& i) {
       i.add_checks()->mutable_http()->set_url("/");
       i.mutable_checks(0)->mutable_http()->set_body(std::string(4097, 'b'));
     },
     "instance.checks[0].http.body", "has 4097 bytes; at most 4096"},
    {"HeaderWithNewline",
     [](auto& i) {
       i.add_checks()->mutable_http()->set_url("/");
       (*i.mutable_checks(0)->mutable_http()->mutable_headers())["A"] = "x\r\nB: y";
     },
     "instance.checks[0].http.headers", "has in A the character '\\x0d' at 1"},
    {"UrlScheme", [](auto& i) { AddHttp(i).set_url("ftp://10.0.0.1/"); },
     "instance.checks[0].http.url",
     "is \"ftp://10.0.0.1/\"; allowed: /PATH, http://HOST:PORT/PATH, https://HOST/PATH"},
    {"UrlWithoutScheme", [](auto& i) { AddHttp(i).set_url("health"); },
     "instance.checks[0].http.url", "is \"health\"; allowed: /PATH"},
    {"UrlWithPassword", [](auto& i) { AddHttp(i).set_url("http://me:secret@10.0.0.1/"); },
     "instance.checks[0].http.url", "has a user name or a password; give an Authorization header"},
    {"UrlWithSpace", [](auto& i) { AddHttp(i).set_url("/health now"); },
     "instance.checks[0].http.url", "is \"/health now\", which contains ' ' at 7"},
    {"UrlWithNewline", [](auto& i) { AddHttp(i).set_url("/a\r\nHost: b"); },
     "instance.checks[0].http.url", "contains '\\x0d' at 2"},
    {"UrlBeyondAscii", [](auto& i) { AddHttp(i).set_url("/größe"); }, "instance.checks[0].http.url",
     "anything but printable ASCII is written as %XX"},
    {"UrlWithFragment", [](auto& i) { AddHttp(i).set_url("/a#b"); }, "instance.checks[0].http.url",
     "which has a fragment (#)"},
    {"UrlPort", [](auto& i) { AddHttp(i).set_url("http://10.0.0.1:0/"); },
     "instance.checks[0].http.url", "whose host or port can't be used"},
    {"UrlAnyAddress", [](auto& i) { AddHttp(i).set_url("http://0.0.0.0:80/"); },
     "instance.checks[0].http.url", "whose host or port can't be used"},
    {"UrlNoHost", [](auto& i) { AddHttp(i).set_url("http:///x"); }, "instance.checks[0].http.url",
     "whose host or port can't be used"},
    {"UrlPathWithoutPort",
     [](auto& i) {
       AddHttp(i);
       i.clear_port();
     },
     "instance.checks[0].http.url", "is a path, and the instance has no port"},
    {"UrlOfPlainHttpWithTls",
     [](auto& i) {
       AddHttp(i).set_url("http://10.0.0.1/");
       i.mutable_checks(0)->mutable_http()->set_tls(true);
     },
     "instance.checks[0].http.tls", "is set and the URL says http"},
    {"Method", [](auto& i) { AddHttp(i).set_method("GET /x"); }, "instance.checks[0].http.method",
     "is \"GET /x\"; allowed: a method such as GET, HEAD"},
    {"OwnHeader", [](auto& i) { (*AddHttp(i).mutable_headers())["content-length"] = "7"; },
     "instance.checks[0].http.headers", "has Content-Length, which the server sets itself"},
    {"HeaderTwice",
     [](auto& i) {
       auto& headers = *AddHttp(i).mutable_headers();
       headers["Host"] = "a";
       headers["host"] = "b";
     },
     "instance.checks[0].http.headers", "has host twice; names have no case"},
    {"UrlHost", [](auto& i) { AddHttp(i).set_url("http://-a-.example/"); },
     "instance.checks[0].http.url", "whose host or port can't be used"},
    {"ManyHeaders",
     [](auto& i) {
       auto& headers = *AddHttp(i).mutable_headers();
       for (int n = 0; n < 33; ++n) headers[std::to_string(n)] = "x";
     },
     "instance.checks[0].http.headers", "has 33 items of "},
    {"BodyContains", [](auto& i) { AddHttp(i).set_body_contains(std::string(513, 'b')); },
     "instance.checks[0].http.body_contains", "has 513 bytes; at most 512"},
    {"ServerName", [](auto& i) { AddHttp(i).set_tls_server_name("a b"); },
     "instance.checks[0].http.tls_server_name", "contains ' '"},
    {"TcpTarget", [](auto& i) { AddTcp(i).mutable_tcp()->set_target("10.0.0.1"); },
     "instance.checks[0].tcp.target",
     "is \"10.0.0.1\"; allowed: HOST:PORT, IP:PORT, [IPV6]:PORT, with a port from 1 to 65535"},
    {"GrpcTargetWithoutPort",
     [](auto& i) {
       i.add_checks()->mutable_grpc();
       i.clear_port();
     },
     "instance.checks[0].grpc.target", "is empty, and the instance has no port"},
    {"Threshold", [](auto& i) { AddTcp(i).set_success_before_passing(101); },
     "instance.checks[0].success_before_passing", "is 101; allowed: 0 to 100"},
    {"WarningAfterCritical",
     [](auto& i) {
       AddTcp(i).set_failures_before_warning(3);
       i.mutable_checks(0)->set_failures_before_critical(2);
     },
     "instance.checks[0].failures_before_warning",
     "is 3; at most failures_before_critical, which is 2"},
    {"IntervalOfTtl",
     [](auto& i) {
       i.add_checks()->mutable_ttl()->mutable_ttl()->set_seconds(9);
       i.mutable_checks(0)->mutable_interval()->set_seconds(3);
     },
     "instance.checks[0].interval", "is set; a ttl check has ttl.ttl only"},
    {"HugeInterval", [](auto& i) { AddTcp(i).mutable_interval()->set_seconds(1'000'000'000'000); },
     "instance.checks[0].interval", "allowed: 1s to 24h"},
    {"TimeoutOverFailingInterval",
     [](auto& i) {
       AddTcp(i).mutable_failing_interval()->set_seconds(2);
       i.mutable_checks(0)->mutable_timeout()->set_seconds(3);
     },
     "instance.checks[0].timeout", "is 3s; allowed: 1ms to 2s"},
    {"StatusRange",
     [](auto& i) {
       i.add_checks()->mutable_http()->set_url("/");
       auto* range = i.mutable_checks(0)->mutable_http()->add_expected_status();
       range->set_first(300);
       range->set_last(200);
     },
     "instance.checks[0].http.expected_status", "has 300 to 200; allowed: 100 to 599"},
    {"ShortInterval", [](auto& i) { AddTcp(i).mutable_interval()->set_nanos(999'999'999); },
     "instance.checks[0].interval", "is 999.999999ms; allowed: 1s to 24h"},
    {"NegativeInterval", [](auto& i) { AddTcp(i).mutable_interval()->set_seconds(-5); },
     "instance.checks[0].interval", "is -5s; allowed: 1s to 24h"},
    {"TimeoutOverInterval",
     [](auto& i) {
       AddTcp(i).mutable_interval()->set_seconds(3);
       i.mutable_checks(0)->mutable_timeout()->set_seconds(4);
     },
     "instance.checks[0].timeout", "is 4s; allowed: 1ms to 3s"},
    {"TimeoutOverDefaultInterval", [](auto& i) { AddTcp(i).mutable_timeout()->set_seconds(11); },
     "instance.checks[0].timeout", "is 11s; allowed: 1ms to 10s"},
    {"FailingInterval", [](auto& i) { AddTcp(i).mutable_failing_interval(); },
     "instance.checks[0].failing_interval", "is 0; allowed: 1s to 24h"},
    {"DeregisterAfter", [](auto& i) { AddTcp(i).mutable_deregister_after_critical(); },
     "instance.checks[0].deregister_after_critical", "is 0; allowed"},
    {"InitialStatus", [](auto& i) { AddTcp(i).set_initial_status(static_cast<v1::Health>(9)); },
     "instance.checks[0].initial_status", "is 9; allowed: PASSING, WARNING, CRITICAL"},
};

INSTANTIATE_TEST_SUITE_P(All, BadFieldTest, testing::ValuesIn(kBadFields),
                         [](const auto& info) { return std::string(info.param.name); });

// A protobuf map has another order each time that it is read.
TEST(InstanceTest, OfSeveralEntriesThatAreWrongTheFirstByKeyIsNamed) {
  for (int i = 0; i < 50; ++i) {
    v1::Instance bad = Sample();
    for (const std::string key : {"c\n", "b\n", "a\n", "d\n"}) {
      (*bad.mutable_metadata())[key] = "";
      (*bad.mutable_named_ports())[key] = 1;
    }
    const auto error = [&bad] { return std::string(Normal(bad).status().message()); };
    ASSERT_THAT(error(), HasSubstr("named_ports \"a"));
    bad.clear_named_ports();
    ASSERT_THAT(error(), HasSubstr("metadata \"a"));
    bad.clear_metadata();
    v1::Check::Http& http = *bad.add_checks()->mutable_http();
    http.set_url("/");
    for (const std::string key : {"c\n", "b\n", "a\n", "d\n"}) (*http.mutable_headers())[key] = "";
    ASSERT_THAT(error(), HasSubstr("http.headers has the name \"a"));
  }
}

TEST(InstanceTest, TakesEveryFieldAtItsLimit) {
  const std::vector<std::function<void(v1::Instance&)>> changes = {
      [](auto& i) { i.set_service(std::string(128, 's')); },
      [](auto& i) { i.set_node(std::string(255, 'n')); },
      [](auto& i) { i.set_id(std::string(255, 'i')); },
      [](auto& i) { i.set_id("größe/1 ☃"); },
      [](auto& i) { i.set_address("db_1.example."); },
      [](auto& i) { i.set_address("localhost"); },
      [](auto& i) { i.set_address("3com.example"); },
      [](auto& i) { i.set_address("2001:db8::1"); },
      [](auto& i) { i.set_address(std::string(63, 'a')); },
      [](auto& i) { i.set_port(65535); },
      [](auto& i) { i.set_port(0); },
      [](auto& i) { i.add_tags(std::string(1024, 't')); },
      [](auto& i) { (*i.mutable_metadata())[std::string(128, 'k')] = std::string(512, 'v'); },
      [](auto& i) { i.mutable_weight()->set_passing(65535); },
      [](auto& i) { i.set_version(std::string(128, 'v')); },
      [](auto& i) { i.set_protocol(std::string(32, 'p')); },
      [](auto& i) { i.add_checks()->mutable_ttl()->mutable_ttl()->set_seconds(86400); },
      [](auto& i) { AddTcp(i).mutable_timeout()->set_seconds(10); },
      [](auto& i) {
        for (int n = 0; n < 32; ++n) AddTcp(i);
      },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    v1::Instance given = Sample();
    changes[i](given);
    const auto normal = Normal(given);
    EXPECT_TRUE(normal.ok()) << i << ": " << normal.status();
  }
}

TEST(ToProtoTest, GivesTheKey) {
  const v1::InstanceKey key = ToProto({"ns", "api", "n", "i"});
  EXPECT_EQ(key.namespace_(), "ns");
  EXPECT_EQ(key.service(), "api");
  EXPECT_EQ(key.node(), "n");
  EXPECT_EQ(key.id(), "i");
}

}  // namespace
}  // namespace muster::core

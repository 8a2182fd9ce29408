#include "server/app/config_yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/errors.h"
#include "google/protobuf/util/message_differencer.h"
#include "server/app/config.h"

namespace muster::app {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::HasSubstr;

std::string Error(const std::string& yaml) {
  config::v1::Config config = DefaultConfig();
  const absl::Status status = ApplyYaml(yaml, "musterd.yaml", config);
  EXPECT_FALSE(status.ok()) << yaml;
  EXPECT_EQ(base::ReasonOf(status), base::Reason::kInvalidField);
  return std::string(status.message());
}

TEST(ConfigYaml, WhatIsPrintedIsReadBack) {
  config::v1::Config config = DefaultConfig();
  config.set_data_dir("/var/lib/a \"b\": #c\\d \xC3\xA9");
  config.set_http_listen("off");
  config.set_tokens("~");
  config.set_insecure(true);
  config.mutable_tls()->set_cert("no");
  config.mutable_leases()->set_restart_spread(0.1);
  config.mutable_limits()->set_instances(18'446'744'073'709'551'615u);
  config.mutable_watch()->set_snapshot_part(4'294'967'295u);
  config.mutable_rocksdb()->set_sync(false);
  for (const config::v1::Config& original : {config, DefaultConfig()}) {
    config::v1::Config back;
    back.mutable_rocksdb()->set_sync(true);
    const absl::Status status = ApplyYaml(ToYaml(original), "printed", back);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_TRUE(MessageDifferencer::Equals(original, back)) << ToYaml(original);
  }
}

TEST(ConfigYaml, KeepsWhatTheFileDoesNotGive) {
  config::v1::Config config = DefaultConfig();
  ASSERT_TRUE(ApplyYaml("leases:\n  min_ttl: 2s\nwatch:\ntls: ~\n", "f", config).ok());
  EXPECT_EQ(config.leases().min_ttl(), "2s");
  EXPECT_EQ(config.leases().max_ttl(), "24h");
  EXPECT_EQ(config.watch().snapshot_part(), 500u);
}

TEST(ConfigYaml, AnEmptyFileChangesNothing) {
  for (const char* yaml : {"", "\n", "# nothing\n", "---\n"}) {
    config::v1::Config config = DefaultConfig();
    ASSERT_TRUE(ApplyYaml(yaml, "f", config).ok()) << yaml;
    EXPECT_TRUE(MessageDifferencer::Equals(config, DefaultConfig()));
  }
}

TEST(ConfigYaml, AnUnknownKeyIsNamedWithItsLineAndTheNearestKey) {
  EXPECT_EQ(Error("data_dir: x\n\ngrpc_listn: 127.0.0.1:1\n"),
            "musterd.yaml:3: unknown key \"grpc_listn\"; did you mean \"grpc_listen\"?");
  EXPECT_EQ(Error("leases:\n  defualt_ttl: 1s\n"),
            "musterd.yaml:2: unknown key \"leases.defualt_ttl\"; did you mean "
            "\"leases.default_ttl\"?");
  EXPECT_THAT(Error("tls:\n  something_else: 1\n"), HasSubstr("allowed: cert, key, client_ca"));
  EXPECT_THAT(Error("\"a\\nb\": 1\n"), HasSubstr("\"a\\x0ab\""));
}

TEST(ConfigYaml, AWrongTypeIsNamedWithPathLineAndWhatIsAllowed) {
  EXPECT_EQ(Error("insecure: yes\n"),
            "musterd.yaml:1: \"insecure\" is \"yes\"; allowed: true, false");
  EXPECT_EQ(Error("\nlimits:\n  instances: many\n"),
            "musterd.yaml:3: \"limits.instances\" is \"many\"; allowed: a whole number from 0 to "
            "18446744073709551615");
  EXPECT_THAT(Error("watch: {snapshot_part: 4294967296}"), HasSubstr("0 to 4294967295"));
  EXPECT_THAT(Error("limits: {instances: -1}"), HasSubstr("a whole number"));
  EXPECT_THAT(Error("limits: {instances: 1.5}"), HasSubstr("a whole number"));
  EXPECT_THAT(Error("leases: {restart_spread: .nan}"), HasSubstr("a number"));
  EXPECT_THAT(Error("leases: {restart_spread: nan}"), HasSubstr("a number"));
  EXPECT_THAT(Error("data_dir: [a, b]"), HasSubstr("\"data_dir\" is a list; allowed: a text"));
  EXPECT_THAT(Error("data_dir: {a: b}"), HasSubstr("is a section of keys; allowed: a text"));
  EXPECT_THAT(Error("data_dir:\n"), HasSubstr("\"data_dir\" is nothing; allowed: a text"));
  EXPECT_THAT(Error("tls: cert.pem"), HasSubstr("\"tls\" has the wrong type"));
  EXPECT_THAT(Error("- data_dir"), HasSubstr("the file has the wrong type"));
  EXPECT_THAT(Error("[a]: b"), HasSubstr("a key has the wrong type"));
}

TEST(ConfigYaml, RefusesWhatIsAmbiguousOrNoYaml) {
  EXPECT_EQ(Error("storage: memory\nstorage: rocksdb\n"),
            "musterd.yaml:2: key \"storage\" is given twice");
  EXPECT_THAT(Error("tls:\n  cert: a\n  cert: b\n"), HasSubstr(":3: key \"tls.cert\""));
  EXPECT_THAT(Error("data_dir: a\n---\ndata_dir: b\n"), HasSubstr("a second document"));
  EXPECT_THAT(Error("data_dir: a\ntls: {cert: \n"), HasSubstr("is no YAML"));
  EXPECT_THAT(Error("{data_dir: a},\n"), HasSubstr("musterd.yaml:1: a second document begins, or"));
  EXPECT_THAT(Error("\n,"), HasSubstr("musterd.yaml:2: a second document begins, or"));
  EXPECT_THAT(Error("a: b: c"), HasSubstr("musterd.yaml:1: is no YAML"));
  EXPECT_THAT(Error(std::string(100'000, '[')), HasSubstr("is no YAML"));
}

TEST(ConfigYaml, ApplyTextSetsOneFieldAndNamesAWrongValue) {
  config::v1::Config config = DefaultConfig();
  ASSERT_TRUE(ApplyText("tls.cert", "c.pem", config).ok());
  EXPECT_EQ(config.tls().cert(), "c.pem");
  const absl::Status status = ApplyText("insecure", "maybe", config);
  EXPECT_EQ(base::FieldOf(status), "insecure");
  EXPECT_EQ(status.message(), "insecure: \"maybe\" is not allowed; allowed: true, false");
}

TEST(ConfigYaml, ListsOfTextsAreReadAndPrinted) {
  config::v1::Config config = DefaultConfig();
  ASSERT_TRUE(ApplyYaml("health: {allow: [10.0.0.0/8, \"fd00::/8\"], ports:}", "x", config).ok());
  EXPECT_THAT(config.health().allow(), testing::ElementsAre("10.0.0.0/8", "fd00::/8"));
  config::v1::Config again = DefaultConfig();
  ASSERT_TRUE(ApplyYaml(ToYaml(config), "x", again).ok());
  EXPECT_EQ(again.SerializeAsString(), config.SerializeAsString());
  EXPECT_THAT(Error("health:\n  allow: 10.0.0.0/8\n"),
              HasSubstr(":2: \"health.allow\" is \"10.0.0.0/8\"; allowed: a list of texts"));
  EXPECT_THAT(Error("health: {allow: [[a]]}"), HasSubstr("is a list; allowed: a list of texts"));
}

}  // namespace
}  // namespace muster::app

#include "server/app/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "base/errors.h"
#include "server/app/config_yaml.h"

namespace muster::app {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

absl::StatusOr<ResolvedConfig> ResolveYaml(const std::string& yaml) {
  config::v1::Config config = DefaultConfig();
  const absl::Status status = ApplyYaml(yaml, "test", config);
  if (!status.ok()) return status;
  return Resolve(config);
}

// The numbers are those that the comments of config.proto promise.
TEST(Config, DefaultsAreThePromisedOnes) {
  const auto config = Resolve(DefaultConfig());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->data_dir, "./data");
  EXPECT_EQ(base::FormatHostPort(config->grpc_listen), "127.0.0.1:8502");
  EXPECT_EQ(base::FormatHostPort(config->http_listen.value()), "127.0.0.1:8500");
  EXPECT_EQ(base::FormatHostPort(config->dns_listen.value()), "127.0.0.1:8600");
  EXPECT_EQ(config->storage, StorageKind::kRocksdb);
  EXPECT_FALSE(config->tls.has_value());
  EXPECT_EQ(config->tokens, "");
  EXPECT_FALSE(config->insecure);
  EXPECT_EQ(config->log_level, base::LogLevel::kInfo);
  EXPECT_EQ(config->log_format, LogFormat::kText);
}

TEST(Config, DefaultsOfTheSectionsAreThePromisedOnes) {
  const auto config = Resolve(DefaultConfig());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->leases.default_ttl, absl::Seconds(30));
  EXPECT_EQ(config->leases.min_ttl, absl::Seconds(1));
  EXPECT_EQ(config->leases.max_ttl, absl::Hours(24));
  EXPECT_EQ(config->leases.restart_spread, 0.5);
  EXPECT_EQ(config->watch.progress_interval, absl::Seconds(30));
  EXPECT_EQ(config->watch.snapshot_part, 500u);
  EXPECT_EQ(config->watch.snapshot_budget_bytes, 64u << 20);
  EXPECT_EQ(config->watch.tombstones_per_service, 1'024u);
  EXPECT_EQ(config->watch.tombstone_age, absl::Hours(1));
  EXPECT_EQ(config->watch.forget_empty_after, absl::Hours(24));
  EXPECT_EQ(config->limits.instances, 2'000'000u);
  EXPECT_EQ(config->limits.subscriptions_per_stream, 5'000u);
  EXPECT_EQ(config->limits.subscriptions, 1'000'000u);
  EXPECT_EQ(config->limits.message_bytes, 4u << 20);
  EXPECT_EQ(config->limits.write_queue, 65'536u);
  EXPECT_EQ(config->limits.waiting_calls, 10'000u);
  EXPECT_TRUE(config->rocksdb.sync);
  EXPECT_EQ(config->rocksdb.write_buffer_bytes, 64u << 20);
  EXPECT_EQ(config->rocksdb.block_cache_bytes, 64u << 20);
  EXPECT_EQ(config->rocksdb.min_free_bytes, 256u << 20);
  EXPECT_EQ(config->rocksdb.reserve_bytes, 16u << 20);
  EXPECT_EQ(config->brake.share, 0.3);
  EXPECT_EQ(config->brake.min_leases, 5u);
  EXPECT_EQ(config->brake.hold, absl::Seconds(60));
  EXPECT_EQ(config->brake.release_share, 0.15);
  EXPECT_EQ(config->brake.release_interval, absl::Seconds(10));
}

TEST(Config, ReadsEveryKindOfValue) {
  const auto config = ResolveYaml(R"(
grpc_listen: "[::1]:0"
http_listen: off
dns_listen: off
storage: memory
data_dir: ""
tls: {cert: c.pem, key: k.pem, client_ca: ca.pem}
log_level: debug
log_format: json
leases: {default_ttl: 1m30s, restart_spread: 0}
rocksdb: {sync: false}
brake: {share: 0, min_leases: 10, hold: 0s, release_share: 1, release_interval: 100ms}
)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(base::FormatHostPort(config->grpc_listen), "[::1]:0");
  EXPECT_FALSE(config->http_listen || config->dns_listen);
  EXPECT_EQ(config->storage, StorageKind::kMemory);
  ASSERT_TRUE(config->tls);
  EXPECT_EQ(config->tls->cert + config->tls->key + config->tls->client_ca, "c.pemk.pemca.pem");
  EXPECT_EQ(config->log_level, base::LogLevel::kDebug);
  EXPECT_EQ(config->log_format, LogFormat::kJson);
  EXPECT_EQ(config->leases.default_ttl, absl::Seconds(90));
  EXPECT_EQ(config->leases.restart_spread, 0);
  EXPECT_FALSE(config->rocksdb.sync);
  EXPECT_EQ(config->brake.share, 0);
  EXPECT_EQ(config->brake.min_leases, 10u);
  EXPECT_EQ(config->brake.hold, absl::ZeroDuration());
  EXPECT_EQ(config->brake.release_share, 1);
  EXPECT_EQ(config->brake.release_interval, absl::Milliseconds(100));
}

struct BadValue {
  const char* yaml;
  const char* field;
  const char* allowed;
};
class ConfigBadValue : public testing::TestWithParam<BadValue> {};

TEST_P(ConfigBadValue, IsRefusedWithFieldAndLimit) {
  const auto config = ResolveYaml(GetParam().yaml);
  ASSERT_FALSE(config.ok());
  EXPECT_EQ(base::FieldOf(config.status()), GetParam().field);
  EXPECT_EQ(base::ReasonOf(config.status()), base::Reason::kInvalidField);
  EXPECT_THAT(
      std::string(config.status().message()),
      AllOf(StartsWith(std::string(GetParam().field) + ": "), HasSubstr(GetParam().allowed)));
}

INSTANTIATE_TEST_SUITE_P(
    All, ConfigBadValue,
    testing::Values(
        BadValue{"grpc_listen: off", "grpc_listen", "HOST:PORT"},
        BadValue{"grpc_listen: 127.0.0.1:70000", "grpc_listen", "65535"},
        BadValue{"http_listen: 8500", "http_listen", "or off"},
        BadValue{"dns_listen: on", "dns_listen", "or off"},
        BadValue{"storage: etcd", "storage", "allowed: rocksdb, memory"},
        BadValue{"log_level: loud", "log_level", "allowed: debug, info, warn, error"},
        BadValue{"log_format: xml", "log_format", "allowed: text, json"},
        BadValue{"data_dir: ''", "data_dir", "a directory"},
        BadValue{"data_dir: \"a\\nb\"", "data_dir", "without control characters"},
        BadValue{"tls: {cert: c}", "tls.key", "--tls-key"},
        BadValue{"tls: {key: k}", "tls.cert", "--tls-cert"},
        BadValue{"tls: {client_ca: a}", "tls.client_ca", "--tls-cert"},
        BadValue{"leases: {min_ttl: 30}", "leases.min_ttl", "like 250ms"},
        BadValue{"leases: {min_ttl: 10ms}", "leases.min_ttl", "allowed: 100ms to 24h"},
        BadValue{"leases: {max_ttl: 500ms}", "leases.max_ttl", "allowed: 1s to"},
        BadValue{"leases: {default_ttl: 48h}", "leases.default_ttl", "allowed: 1s to 24h"},
        BadValue{"leases: {restart_spread: 1.5}", "leases.restart_spread", "0 to 1"},
        BadValue{"leases: {restart_spread: -0.1}", "leases.restart_spread", "0 to 1"},
        BadValue{"watch: {progress_interval: 2h}", "watch.progress_interval", "to 1h"},
        BadValue{"watch: {snapshot_part: 0}", "watch.snapshot_part", "1 to 500"},
        BadValue{"watch: {snapshot_part: 501}", "watch.snapshot_part", "1 to 500"},
        BadValue{"watch: {snapshot_budget_bytes: 1}", "watch.snapshot_budget_bytes", "1048576 to"},
        BadValue{"watch: {tombstones_per_service: 0}", "watch.tombstones_per_service", "1 to"},
        BadValue{"watch: {tombstone_age: 0}", "watch.tombstone_age", "1s to"},
        BadValue{"watch: {forget_empty_after: 1ms}", "watch.forget_empty_after", "1s to"},
        BadValue{"limits: {instances: 0}", "limits.instances", "1 to"},
        BadValue{"limits: {subscriptions: 0}", "limits.subscriptions", "1 to"},
        BadValue{"limits: {subscriptions_per_stream: 0}", "limits.subscriptions_per_stream",
                 "1 to"},
        BadValue{"limits: {message_bytes: 1000}", "limits.message_bytes", "65536 to"},
        BadValue{"limits: {write_queue: 1}", "limits.write_queue", "16 to"},
        BadValue{"limits: {waiting_calls: 0}", "limits.waiting_calls", "1 to"},
        BadValue{"rocksdb: {write_buffer_bytes: 5}", "rocksdb.write_buffer_bytes", "1048576 to"},
        BadValue{"rocksdb: {block_cache_bytes: 5}", "rocksdb.block_cache_bytes", "1048576 to"},
        BadValue{"rocksdb: {min_free_bytes: 2199023255552}", "rocksdb.min_free_bytes", "0 to"},
        BadValue{"rocksdb: {reserve_bytes: 2199023255552}", "rocksdb.reserve_bytes", "0 to"},
        BadValue{"brake: {share: 1.01}", "brake.share", "0 to 1"},
        BadValue{"brake: {share: -0.1}", "brake.share", "0 to 1"},
        BadValue{"brake: {min_leases: 0}", "brake.min_leases", "1 to"},
        BadValue{"brake: {hold: 60}", "brake.hold", "like 250ms"},
        BadValue{"brake: {hold: 25h}", "brake.hold", "0 to 24h"},
        BadValue{"brake: {release_share: 0}", "brake.release_share", "0.01 to 1"},
        BadValue{"brake: {release_share: 1.5}", "brake.release_share", "0.01 to 1"},
        BadValue{"brake: {release_interval: 50ms}", "brake.release_interval", "100ms to 1h"},
        BadValue{"grpc_listen: 0.0.0.0:8502", "grpc_listen", "--insecure"},
        BadValue{"http_listen: 0.0.0.0:8500", "http_listen", "--insecure"},
        BadValue{"dns_listen: '[::]:53'", "dns_listen", "--insecure"}));

TEST(Config, NotANumberIsRefused) {
  config::v1::Config config = DefaultConfig();
  config.mutable_leases()->set_restart_spread(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(base::FieldOf(Resolve(config).status()), "leases.restart_spread");
}

TEST(Config, ListenersBeyondLoopbackFollowTheListenerRule) {
  const std::string open = "grpc_listen: 0.0.0.0:8502\n";
  EXPECT_TRUE(ResolveYaml(open + "insecure: true").ok());
  EXPECT_FALSE(ResolveYaml(open + "tokens: t").ok());
  EXPECT_FALSE(ResolveYaml(open + "tls: {cert: c, key: k}").ok());
  EXPECT_TRUE(ResolveYaml(open + "tls: {cert: c, key: k}\ntokens: t").ok());
  EXPECT_TRUE(ResolveYaml(open + "tls: {cert: c, key: k, client_ca: a}").ok());
}

}  // namespace
}  // namespace muster::app

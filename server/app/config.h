// The configuration of musterd: defaults, and from the message that file, environment and flags
// filled in to checked, typed values.
//
//   config::v1::Config config = DefaultConfig();
//   ... ApplyYaml(text, "musterd.yaml", config) ...
//   auto resolved = Resolve(config);
//
// Pure; values. Errors: INVALID_ARGUMENT; base::FieldOf is the key's path, like "leases.min_ttl",
// and the message begins with it. Units: absl::Duration; bytes where the name says so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/net_address.h"
#include "muster/config/v1/config.pb.h"
#include "server/core/expiry_brake.h"

namespace muster::app {

enum class StorageKind { kRocksdb, kMemory };
enum class LogFormat { kText, kJson };

struct ResolvedConfig {
  struct Tls {
    std::string cert;
    std::string key;
    std::string client_ca;  // "": clients show no certificate
  };
  struct Leases {
    absl::Duration default_ttl;
    absl::Duration min_ttl;
    absl::Duration max_ttl;
    double restart_spread;
  };
  struct Watch {
    absl::Duration progress_interval;
    uint32_t snapshot_part;
    uint64_t snapshot_budget_bytes;
    uint32_t tombstones_per_service;
    absl::Duration tombstone_age;
    absl::Duration forget_empty_after;
  };
  struct Limits {
    uint64_t instances;
    uint64_t subscriptions_per_stream;
    uint64_t subscriptions;
    uint64_t message_bytes;
    uint64_t write_queue;
    uint64_t waiting_calls;
  };
  struct Rocksdb {
    bool sync;
    uint64_t write_buffer_bytes;
    uint64_t block_cache_bytes;
    uint64_t min_free_bytes;
    uint64_t reserve_bytes;
  };

  std::string data_dir;
  base::HostPort grpc_listen;
  std::optional<base::HostPort> http_listen;  // nothing: off
  std::optional<base::HostPort> dns_listen;   // nothing: off
  StorageKind storage = StorageKind::kRocksdb;
  std::optional<Tls> tls;
  std::string tokens;  // "": no token file
  bool insecure = false;
  base::LogLevel log_level = base::LogLevel::kInfo;
  LogFormat log_format = LogFormat::kText;
  Leases leases{};
  Watch watch{};
  Limits limits{};
  Rocksdb rocksdb{};
  config::v1::Health health;  // in range; addresses and ports parse
  core::BrakeOptions brake{};
};

// Every field set.
config::v1::Config DefaultConfig();

// REQUIRES: made from DefaultConfig(). Refuses listeners that security::CheckListener refuses.
// Opens no file.
absl::StatusOr<ResolvedConfig> Resolve(const config::v1::Config& config);

}  // namespace muster::app

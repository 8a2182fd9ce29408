#include "server/app/config.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "base/errors.h"
#include "base/text.h"
#include "server/health/target_guard.h"
#include "server/security/listener_policy.h"

namespace muster::app {
namespace {

constexpr uint64_t kMiB = 1 << 20;
const absl::Duration kYear = absl::Hours(24 * 366);

absl::Status FieldError(std::string_view path, std::string_view what) {
  return base::WithField(
      base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
                      absl::StrCat(base::Av(path), ": ", base::Av(what))),
      path);
}

// Reads fields one after the other and keeps the first error.
class FieldReader {
 public:
  std::string Text(std::string_view path, const std::string& text) {
    if (!base::IsPrintableUtf8(text)) {
      Fail(path, absl::StrCat("\"", base::EscapeForTerminal(text),
                              "\" is not printable; allowed: UTF-8 without control characters"));
    }
    return text;
  }

  std::optional<base::HostPort> Listen(std::string_view path, const std::string& text) {
    auto address = base::ParseHostPort(text);
    if (address.ok()) return *std::move(address);
    Fail(path, base::Sv(address.status().message()));
    return std::nullopt;
  }

  std::optional<base::HostPort> ListenOrOff(std::string_view path, const std::string& text) {
    if (text == "off") return std::nullopt;
    auto address = base::ParseHostPort(text);
    if (address.ok()) return *std::move(address);
    Fail(path, absl::StrCat(address.status().message(), ", or off"));
    return std::nullopt;
  }

  absl::Duration Duration(std::string_view path, const std::string& text, absl::Duration min,
                          absl::Duration max) {
    const auto duration = base::ParseDuration(text);
    if (!duration.ok()) {
      Fail(path, base::Sv(duration.status().message()));
    } else if (*duration < min || *duration > max) {
      Fail(path, absl::StrCat(text, " is out of range; allowed: ", base::FormatDuration(min),
                              " to ", base::FormatDuration(max)));
    }
    return duration.value_or(min);
  }

  template <typename Number>
  Number Ranged(std::string_view path, Number value, Number min, Number max) {
    // Written so that no number, NaN, is refused as well.
    if (!(value >= min && value <= max)) {
      Fail(path, absl::StrCat(value, " is out of range; allowed: ", min, " to ", max));
    }
    return value;
  }

  // The first of each pair is the text, the second its meaning.
  template <typename Value>
  Value OneOf(std::string_view path, const std::string& text,
              std::initializer_list<std::pair<absl::string_view, Value>> choices) {
    std::string allowed;
    for (const auto& [name, value] : choices) {
      if (name == text) return value;
      absl::StrAppend(&allowed, allowed.empty() ? "" : ", ", name);
    }
    Fail(path,
         absl::StrCat("\"", base::EscapeForTerminal(text), "\" is unknown; allowed: ", allowed));
    return choices.begin()->second;
  }

  void Fail(std::string_view path, std::string_view what) {
    if (status_.ok()) status_ = FieldError(path, what);
  }
  void Fail(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
};

void ReadTop(const config::v1::Config& in, FieldReader& reader, ResolvedConfig& out) {
  out.data_dir = reader.Text("data_dir", in.data_dir());
  out.grpc_listen = reader.Listen("grpc_listen", in.grpc_listen()).value_or(base::HostPort{});
  out.http_listen = reader.ListenOrOff("http_listen", in.http_listen());
  out.dns_listen = reader.ListenOrOff("dns_listen", in.dns_listen());
  out.storage = reader.OneOf<StorageKind>(
      "storage", in.storage(),
      {{"rocksdb", StorageKind::kRocksdb}, {"memory", StorageKind::kMemory}});
  out.tokens = reader.Text("tokens", in.tokens());
  out.insecure = in.insecure();
  out.log_level = reader.OneOf<base::LogLevel>("log_level", in.log_level(),
                                               {{"debug", base::LogLevel::kDebug},
                                                {"info", base::LogLevel::kInfo},
                                                {"warn", base::LogLevel::kWarn},
                                                {"error", base::LogLevel::kError}});
  out.log_format = reader.OneOf<LogFormat>(
      "log_format", in.log_format(), {{"text", LogFormat::kText}, {"json", LogFormat::kJson}});
  if (out.storage == StorageKind::kRocksdb && in.data_dir().empty()) {
    reader.Fail("data_dir", "is empty; allowed: a directory, or storage memory");
  }
}

void ReadTls(const config::v1::Tls& in, FieldReader& reader, ResolvedConfig& out) {
  const ResolvedConfig::Tls tls{reader.Text("tls.cert", in.cert()),
                                reader.Text("tls.key", in.key()),
                                reader.Text("tls.client_ca", in.client_ca())};
  if (!tls.cert.empty() && tls.key.empty()) {
    reader.Fail("tls.key", "is empty; tls.cert (--tls-cert) and tls.key (--tls-key) go together");
  }
  if (tls.cert.empty() && !tls.key.empty()) {
    reader.Fail("tls.cert", "is empty; tls.cert (--tls-cert) and tls.key (--tls-key) go together");
  }
  if (tls.cert.empty() && !tls.client_ca.empty()) {
    reader.Fail("tls.client_ca", "needs TLS; give tls.cert (--tls-cert) and tls.key (--tls-key)");
  }
  if (!tls.cert.empty()) out.tls = tls;
}

void ReadLeases(const config::v1::Leases& in, FieldReader& reader, ResolvedConfig::Leases& out) {
  out.min_ttl =
      reader.Duration("leases.min_ttl", in.min_ttl(), absl::Milliseconds(100), absl::Hours(24));
  out.max_ttl = reader.Duration("leases.max_ttl", in.max_ttl(), out.min_ttl, kYear);
  out.default_ttl =
      reader.Duration("leases.default_ttl", in.default_ttl(), out.min_ttl, out.max_ttl);
  out.restart_spread = reader.Ranged("leases.restart_spread", in.restart_spread(), 0.0, 1.0);
}

void ReadWatch(const config::v1::Watch& in, FieldReader& reader, ResolvedConfig::Watch& out) {
  out.progress_interval = reader.Duration("watch.progress_interval", in.progress_interval(),
                                          absl::Milliseconds(100), absl::Hours(1));
  out.snapshot_part = reader.Ranged<uint32_t>("watch.snapshot_part", in.snapshot_part(), 1, 500);
  out.snapshot_budget_bytes = reader.Ranged<uint64_t>(
      "watch.snapshot_budget_bytes", in.snapshot_budget_bytes(), kMiB, 65'536 * kMiB);
  out.tombstones_per_service = reader.Ranged<uint32_t>("watch.tombstones_per_service",
                                                       in.tombstones_per_service(), 1, 16'777'216);
  out.tombstone_age =
      reader.Duration("watch.tombstone_age", in.tombstone_age(), absl::Seconds(1), kYear);
  out.forget_empty_after =
      reader.Duration("watch.forget_empty_after", in.forget_empty_after(), absl::Seconds(1), kYear);
}

void ReadLimits(const config::v1::Limits& in, FieldReader& reader, ResolvedConfig::Limits& out) {
  out.instances = reader.Ranged<uint64_t>("limits.instances", in.instances(), 1, 100'000'000);
  out.subscriptions_per_stream = reader.Ranged<uint64_t>(
      "limits.subscriptions_per_stream", in.subscriptions_per_stream(), 1, 1'000'000);
  out.subscriptions =
      reader.Ranged<uint64_t>("limits.subscriptions", in.subscriptions(), 1, 100'000'000);
  // At least four of the largest instances; gRPC counts in 31 bits.
  out.message_bytes =
      reader.Ranged<uint64_t>("limits.message_bytes", in.message_bytes(), 65'536, 1'024 * kMiB);
  out.write_queue = reader.Ranged<uint64_t>("limits.write_queue", in.write_queue(), 16, 16'777'216);
  out.waiting_calls =
      reader.Ranged<uint64_t>("limits.waiting_calls", in.waiting_calls(), 1, 1'000'000);
}

void ReadRocksdb(const config::v1::Storage& in, FieldReader& reader, ResolvedConfig::Rocksdb& out) {
  out.sync = in.sync();
  out.write_buffer_bytes = reader.Ranged<uint64_t>("rocksdb.write_buffer_bytes",
                                                   in.write_buffer_bytes(), kMiB, 65'536 * kMiB);
  out.block_cache_bytes = reader.Ranged<uint64_t>("rocksdb.block_cache_bytes",
                                                  in.block_cache_bytes(), kMiB, 1'048'576 * kMiB);
  out.min_free_bytes =
      reader.Ranged<uint64_t>("rocksdb.min_free_bytes", in.min_free_bytes(), 0, 1'048'576 * kMiB);
  out.reserve_bytes =
      reader.Ranged<uint64_t>("rocksdb.reserve_bytes", in.reserve_bytes(), 0, 65'536 * kMiB);
}

void ReadHealth(const config::v1::Health& in, FieldReader& reader, config::v1::Health& out) {
  out = in;
  reader.Ranged<uint32_t>("health.max_probes", in.max_probes(), 0, 100'000);
  out.set_ca(reader.Text("health.ca", in.ca()));
  const auto guard = health::TargetGuard::Make(in, /*loopback_ok=*/true);
  if (!guard.ok()) reader.Fail(guard.status());
}

void ReadBrake(const config::v1::Brake& in, FieldReader& reader, core::BrakeOptions& out) {
  out.share = reader.Ranged("brake.share", in.share(), 0.0, 1.0);
  out.min_leases = reader.Ranged<uint32_t>("brake.min_leases", in.min_leases(), 1, 1'000'000);
  out.hold = reader.Duration("brake.hold", in.hold(), absl::ZeroDuration(), absl::Hours(24));
  out.release_share = reader.Ranged("brake.release_share", in.release_share(), 0.01, 1.0);
  out.release_interval = reader.Duration("brake.release_interval", in.release_interval(),
                                         absl::Milliseconds(100), absl::Hours(1));
}

absl::Status CheckListeners(const ResolvedConfig& config) {
  const bool authenticated =
      !config.tokens.empty() || (config.tls && !config.tls->client_ca.empty());
  const std::pair<std::string_view, std::optional<base::HostPort>> listeners[] = {
      {"grpc_listen", config.grpc_listen},
      {"http_listen", config.http_listen},
      {"dns_listen", config.dns_listen}};
  for (const auto& [path, address] : listeners) {
    if (!address) continue;
    const absl::Status status =
        security::CheckListener(*address, config.tls.has_value(), authenticated, config.insecure);
    if (!status.ok()) return FieldError(path, base::Sv(status.message()));
  }
  return absl::OkStatus();
}

void DefaultSections(config::v1::Config& config) {
  config.mutable_tls();
  config::v1::Leases& leases = *config.mutable_leases();
  leases.set_default_ttl("30s");
  leases.set_min_ttl("1s");
  leases.set_max_ttl("24h");
  leases.set_restart_spread(0.5);
  config::v1::Watch& watch = *config.mutable_watch();
  watch.set_progress_interval("30s");
  watch.set_snapshot_part(500);
  watch.set_snapshot_budget_bytes(64 * kMiB);
  watch.set_tombstones_per_service(1'024);
  watch.set_tombstone_age("1h");
  watch.set_forget_empty_after("24h");
  config::v1::Limits& limits = *config.mutable_limits();
  limits.set_instances(2'000'000);
  limits.set_subscriptions_per_stream(5'000);
  limits.set_subscriptions(1'000'000);
  limits.set_message_bytes(4 * kMiB);
  limits.set_write_queue(65'536);
  limits.set_waiting_calls(10'000);
  config::v1::Storage& rocksdb = *config.mutable_rocksdb();
  rocksdb.set_sync(true);
  rocksdb.set_write_buffer_bytes(64 * kMiB);
  rocksdb.set_block_cache_bytes(64 * kMiB);
  rocksdb.set_min_free_bytes(256 * kMiB);
  rocksdb.set_reserve_bytes(16 * kMiB);
  config.mutable_health()->set_max_probes(1'000);
  config::v1::Brake& brake = *config.mutable_brake();
  brake.set_share(0.3);
  brake.set_min_leases(5);
  brake.set_hold("60s");
  brake.set_release_share(0.15);
  brake.set_release_interval("10s");
}

}  // namespace

config::v1::Config DefaultConfig() {
  config::v1::Config config;
  config.set_data_dir("./data");
  config.set_grpc_listen("127.0.0.1:8502");
  config.set_http_listen("127.0.0.1:8500");
  config.set_dns_listen("127.0.0.1:8600");
  config.set_storage("rocksdb");
  config.set_log_level("info");
  config.set_log_format("text");
  DefaultSections(config);
  return config;
}

absl::StatusOr<ResolvedConfig> Resolve(const config::v1::Config& config) {
  FieldReader reader;
  ResolvedConfig out;
  ReadTop(config, reader, out);
  ReadTls(config.tls(), reader, out);
  ReadLeases(config.leases(), reader, out.leases);
  ReadWatch(config.watch(), reader, out.watch);
  ReadLimits(config.limits(), reader, out.limits);
  ReadRocksdb(config.rocksdb(), reader, out.rocksdb);
  ReadHealth(config.health(), reader, out.health);
  ReadBrake(config.brake(), reader, out.brake);
  if (!reader.status().ok()) return reader.status();
  if (absl::Status status = CheckListeners(out); !status.ok()) return status;
  return out;
}

}  // namespace muster::app

#include "server/app/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/errors.h"
#include "base/executor.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/rng.h"
#include "server/app/acceptor.h"
#include "server/app/descriptors.h"
#include "server/app/listen.h"
#include "server/app/ticker.h"
#include "server/app/version.h"
#include "server/core/applier.h"
#include "server/core/held_set.h"
#include "server/core/registry.h"
#include "server/health/health_checks.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/calls.h"
#include "server/rpc/compression.h"
#include "server/rpc/corks.h"
#include "server/rpc/discovery_service.h"
#include "server/rpc/health_service.h"
#include "server/rpc/registry_service.h"
#include "server/security/authorizer.h"
#include "server/security/certificates.h"
#include "storage/memory_engine.h"
#include "storage/rocksdb/rocksdb_engine.h"

namespace muster::app {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(100);
constexpr absl::Duration kHerdTick = absl::Milliseconds(2);
// How long a stop waits for calls under way; how long it answers at least, so that who is calling
// is told and not cut off; and how long gRPC may then take to close connections, which a client
// that has no call under way may not notice.
constexpr absl::Duration kStopGrace = absl::Seconds(5);
constexpr absl::Duration kStopLinger = absl::Milliseconds(100);
constexpr absl::Duration kCloseGrace = absl::Milliseconds(200);
// A client whose host vanished is gone after the sum of the two.
constexpr absl::Duration kKeepaliveTime = absl::Seconds(30);
constexpr absl::Duration kKeepaliveTimeout = absl::Seconds(10);

std::unique_ptr<storage::Engine> MakeEngine(const ResolvedConfig& config,
                                            const DescriptorShare& descriptors, base::Rng& rng) {
  storage::EngineLimits limits;
  limits.queue_max = config.limits.write_queue;
  if (config.storage == StorageKind::kMemory) {
    return std::make_unique<storage::MemoryEngine>(
        storage::MemoryEngineOptions{.clock = base::RealClock(), .rng = rng, .limits = limits});
  }
  return std::make_unique<storage::RocksDbEngine>(
      storage::RocksDbOptions{.data_dir = config.data_dir,
                              .clock = base::RealClock(),
                              .rng = rng,
                              .sync = config.rocksdb.sync,
                              .write_buffer_bytes = config.rocksdb.write_buffer_bytes,
                              .block_cache_bytes = config.rocksdb.block_cache_bytes,
                              .max_open_files = descriptors.store_files,
                              .min_free_bytes = config.rocksdb.min_free_bytes,
                              .reserve_bytes = config.rocksdb.reserve_bytes,
                              .limits = limits});
}

core::RegistryOptions MakeRegistryOptions(const ResolvedConfig& config) {
  core::RegistryOptions options;
  options.default_ttl = config.leases.default_ttl;
  options.min_ttl = config.leases.min_ttl;
  options.max_ttl = config.leases.max_ttl;
  options.max_instances = config.limits.instances;
  options.tombstones_per_service = config.watch.tombstones_per_service;
  options.tombstone_age = config.watch.tombstone_age;
  options.forget_empty_after = config.watch.forget_empty_after;
  options.brake = config.brake;
  return options;
}

rpc::WatchOptions MakeWatchOptions(const ResolvedConfig& config) {
  rpc::WatchOptions options;
  options.progress_interval = config.watch.progress_interval;
  options.limits.snapshot_part = config.watch.snapshot_part;
  options.limits.snapshot_budget_bytes = config.watch.snapshot_budget_bytes;
  options.limits.subscriptions_per_stream = config.limits.subscriptions_per_stream;
  options.limits.subscriptions = config.limits.subscriptions;
  return options;
}

constexpr unsigned kCertificatesSeconds = 1;

security::CertificateFiles FilesOf(const ResolvedConfig::Tls& tls) {
  return {tls.cert, tls.key, tls.client_ca};
}

// The files are looked at every second: renewed ones serve new connections.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(
    const ResolvedConfig& config) {
  if (!config.tls) return grpc::InsecureServerCredentials();
  const security::CertificateFiles files = FilesOf(*config.tls);
  absl::Status status = security::CheckCertificates(files, base::RealClock().System());
  if (!status.ok()) return status;
  using grpc::experimental::FileWatcherCertificateProvider;
  grpc::experimental::TlsServerCredentialsOptions options(
      std::make_shared<FileWatcherCertificateProvider>(files.key, files.cert, files.client_ca,
                                                       kCertificatesSeconds));
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  if (!files.client_ca.empty()) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

}  // namespace

// In the order of construction; stopped in reverse.
struct Server::Rooms {
  Rooms(const ResolvedConfig& config, const DescriptorShare& share,
        std::shared_ptr<security::TokenStore> token_store)
      : descriptors(share),
        tokens(std::move(token_store)),
        authorizer(tokens, config.tls && !config.tls->client_ca.empty()),
        leases(base::RealClock(), rng, {.restart_spread = config.leases.restart_spread}),
        applier(catalog, leases, hub),
        engine(MakeEngine(config, descriptors, rng)),
        registry(*engine, catalog, leases, held, base::RealClock(), MakeRegistryOptions(config)),
        registry_service(registry, authorizer, state,
                         {.loopback_listener = base::IsLoopback(config.grpc_listen.host)}),
        discovery_service({.catalog = catalog,
                           .hub = hub,
                           .leases = leases,
                           .held = held,
                           .engine = *engine,
                           .authorizer = authorizer,
                           .state = state,
                           .clock = base::RealClock(),
                           .rng = rng,
                           .executor = pump},
                          MakeWatchOptions(config), config.limits.waiting_calls),
        admin_service(
            {.catalog = catalog,
             .leases = leases,
             .held = held,
             .engine = *engine,
             .authorizer = authorizer,
             .state = state,
             .clock = base::RealClock()},
            {.version = std::string(Version()),
             .build = BuildText(),
             .max_instances = config.limits.instances,
             .max_subscriptions = config.limits.subscriptions,
             .max_waiting_calls = config.limits.waiting_calls,
             .watches = [this] { return Watches(); },
             .connections = [this] { return CountConnections(); },
             .brake = [this] { return registry.brake(); },
             .probes = [this, most = config.health.max_probes()] { return Probes(most); }}) {
    registry_service.SetDrains(&discovery_service.drains());
  }

  rpc::WatchCounts Watches() const {
    return {discovery_service.watch_streams(), discovery_service.subscriptions(),
            discovery_service.waiting_calls()};
  }
  rpc::ProbeCounts Probes(uint64_t most) const {
    const health::SchedulerCounts counts = health->counts();
    return {.under_way = counts.probes, .waiting = counts.waiting, .max = most};
  }
  absl::Status Listen(const ResolvedConfig& config);
  absl::Status BuildGrpc(const ResolvedConfig& config);
  absl::Status MakeHealth(const ResolvedConfig& config);
  rpc::ConnectionCounts CountConnections() const;
  void StartTicker(const ResolvedConfig& config);
  // Until no call is under way, or the grace is over.
  void AwaitCalls();

  const DescriptorShare descriptors;
  base::SystemRng rng;
  std::shared_ptr<security::TokenStore> tokens;
  security::Authorizer authorizer;
  core::Catalog catalog;
  core::WatchHub hub;
  core::LeaseTable leases;
  core::HeldSet held{catalog, leases, hub, base::RealClock()};
  core::Applier applier;
  std::unique_ptr<storage::Engine> engine;
  core::Registry registry;
  rpc::ServerState state;
  rpc::Corks corks;
  rpc::Calls grpc_calls{&corks};
  // Those that have a name here; "" is the server.
  rpc::HealthService health_service{{"", std::string(v1::Registry::service_full_name()),
                                     std::string(v1::Discovery::service_full_name()),
                                     std::string(v1::Admin::service_full_name())}};
  rpc::RegistryService registry_service;
  base::SerialExecutor pump{"pump"};
  rpc::DiscoveryService discovery_service;
  rpc::AdminService admin_service;
  std::unique_ptr<grpc::Server> grpc;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> grpc_door;
  std::unique_ptr<Acceptor> acceptor;
  std::string address;
  std::unique_ptr<health::HealthChecks> health;
  std::unique_ptr<Ticker> ticker;
};

absl::Status Server::Rooms::Listen(const ResolvedConfig& config) {
  auto sockets = app::Listen(config.grpc_listen, kKeepaliveTimeout);
  if (!sockets.ok()) return sockets.status();
  address = base::FormatHostPort({config.grpc_listen.host, sockets->port});
  acceptor = std::make_unique<Acceptor>(
      *std::move(sockets), Acceptor::Options{.clock = base::RealClock(),
                                             .reserved = descriptors.reserved,
                                             .end = static_cast<int>(descriptors.end())});
  if (absl::Status status = BuildGrpc(config); !status.ok()) return status;
  // gRPC takes connections from its start on, and until Shutdown.
  acceptor->Start([this](int listener, int fd) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.listener_fd = listener;
    connection.fd = fd;
    corks.Add(fd);
    grpc_door->HandleNewConnection(&connection);
  });
  return absl::OkStatus();
}

absl::Status Server::Rooms::BuildGrpc(const ResolvedConfig& config) {
  auto credentials = MakeCredentials(config);
  if (!credentials.ok()) return credentials.status();
  grpc::EnableDefaultHealthCheckService(false);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  grpc_door = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, *credentials);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS,
                             static_cast<int>(absl::ToInt64Milliseconds(kKeepaliveTime)));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             static_cast<int>(absl::ToInt64Milliseconds(kKeepaliveTimeout)));
  rpc::RefuseCompressed(builder);
  builder.SetMaxReceiveMessageSize(static_cast<int>(config.limits.message_bytes));
  registry_service.ServeOn(grpc_calls);
  discovery_service.ServeOn(grpc_calls);
  admin_service.ServeOn(grpc_calls);
  health_service.ServeOn(grpc_calls);
  grpc_calls.AddTo(builder);
  builder.RegisterService(&registry_service);
  builder.RegisterService(&discovery_service);
  builder.RegisterService(&admin_service);
  builder.RegisterService(&health_service);
  grpc = builder.BuildAndStart();
  if (grpc == nullptr) {
    return base::MakeError(absl::StatusCode::kUnavailable, base::Reason::kInvalidField,
                           absl::StrCat("grpc_listen: can't serve on ", address));
  }
  grpc_calls.Start();
  return absl::OkStatus();
}

absl::Status Server::Rooms::MakeHealth(const ResolvedConfig& config) {
  auto made = health::HealthChecks::Create(
      *engine, registry, base::RealClock(), rng,
      {.config = config.health,
       .loopback_ok = base::IsLoopback(config.grpc_listen.host),
       .descriptors = {.first = descriptors.reserved,
                       .end = static_cast<int>(descriptors.end()),
                       .channels = static_cast<size_t>(descriptors.probe_channels)}});
  if (!made.ok()) return made.status();
  health = *std::move(made);
  return absl::OkStatus();
}

rpc::ConnectionCounts Server::Rooms::CountConnections() const {
  return {.open = acceptor->CountOpen(),
          .max = static_cast<uint64_t>(descriptors.connections()),
          .refused = acceptor->refused(),
          .last_refused = acceptor->last_refused()};
}

void Server::Rooms::StartTicker(const ResolvedConfig& config) {
  std::vector<Ticker::Job> jobs;
  // Before the services look whether their streams may go on.
  if (tokens != nullptr) {
    jobs.push_back({absl::Seconds(1), [this] { tokens->ReloadIfChanged(); }});
  }
  jobs.push_back({kTick, [this] {
                    leases.Tick();
                    held.Refresh();
                  }});
  // As often as leases fall due; few at a time and often while there are many, so that a herd is
  // gone soon and holds up nobody.
  jobs.push_back({.period = kTick,
                  .run =
                      [this] {
                        while (registry.ExpireDue() > 0) {
                        }
                      },
                  .busy = [this] { return registry.is_removing(); },
                  .busy_period = kHerdTick});
  jobs.push_back({kTick, [this] { engine->Tend(); }});
  jobs.push_back({kTick, [this] {
                    const storage::EngineStats stats = engine->Stats();
                    state.SetFrozenSince(stats.frozen ? std::optional(stats.frozen_since)
                                                      : std::nullopt);
                  }});
  jobs.push_back({absl::Seconds(1), [this] { discovery_service.Tick(); }});
  jobs.push_back({absl::Seconds(1), [this] { registry_service.Tick(); }});
  jobs.push_back({kTick, [this] { discovery_service.TickDrains(); }});
  jobs.push_back({kTick, [this] { registry.MaintainPart(); }});
  if (config.tls) {
    const auto log = std::make_shared<security::CertificateLog>(FilesOf(*config.tls));
    jobs.push_back({absl::Seconds(5), [log] { log->Look(base::RealClock().System()); }});
  }
  ticker = std::make_unique<Ticker>(base::RealClock(), std::move(jobs));
}

void Server::Rooms::AwaitCalls() {
  const base::SteadyTime began = base::RealClock().Steady();
  const auto waited = [began] { return base::RealClock().Steady() - began; };
  base::Mutex mu;
  base::CondVar never;
  base::MutexLock lock(mu);
  while (waited() < kStopLinger || (grpc_calls.open() > 0 && waited() < kStopGrace)) {
    never.WaitFor(mu, absl::Milliseconds(10));
  }
}

Server::Server(std::unique_ptr<Rooms> rooms) : rooms_(std::move(rooms)) {}

Server::~Server() { Stop(); }

const std::string& Server::grpc_address() const { return rooms_->address; }

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ResolvedConfig& config) {
  std::shared_ptr<security::TokenStore> tokens;
  if (!config.tokens.empty()) {
    tokens = std::make_shared<security::TokenStore>(config.tokens);
    if (absl::Status status = tokens->Load(); !status.ok()) return status;
  }
  const auto descriptors = ShareDescriptors(RaiseDescriptorLimit());
  if (!descriptors.ok()) return descriptors.status();
  std::unique_ptr<Server> server(
      new Server(std::make_unique<Rooms>(config, *descriptors, std::move(tokens))));
  Rooms& rooms = *server->rooms_;
  if (absl::Status status = rooms.MakeHealth(config); !status.ok()) return status;
  if (absl::Status status = rooms.Listen(config); !status.ok()) return status;
  if (absl::Status status = rooms.engine->Open({&rooms.applier, &rooms.health->sink()});
      !status.ok()) {
    return status;
  }
  rooms.engine->Tend();
  rooms.leases.SetLoaded();
  rooms.StartTicker(config);
  rooms.health->Start();
  rooms.state.SetPhase(rpc::Phase::kServing);
  rooms.health_service.SetServing(true);
  return server;
}

void Server::Stop() {
  Rooms& rooms = *rooms_;
  rooms.state.SetPhase(rpc::Phase::kDraining);
  if (rooms.ticker != nullptr) rooms.ticker->Stop();
  if (rooms.health != nullptr) rooms.health->Stop();
  if (rooms.grpc != nullptr) {
    rooms.health_service.SetServing(false);
    rooms.health_service.EndWatches();
    rooms.discovery_service.EndWatches();
    rooms.registry_service.EndStreams();
    rooms.admin_service.EndCalls();
    rooms.AwaitCalls();
    // gRPC would leave connections that come later open.
    rooms.acceptor->Stop();
    rooms.grpc->Shutdown(
        absl::ToChronoTime(absl::FromUnixMicros(base::RealClock().System().us) + kCloseGrace));
    rooms.grpc_calls.Stop();
  }
  rooms.admin_service.Stop();
  rooms.pump.Stop();
  rooms.engine->Close();
  rooms.grpc.reset();
}

}  // namespace muster::app

#include "muster/client/client.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/net_address.h"
#include "base/rng.h"
#include "client/balancing.h"
#include "client/channel/channel_pool.h"
#include "client/channel/service_channel_core.h"
#include "client/check_options.h"
#include "client/environment.h"
#include "client/environment_options.h"
#include "client/fallback/cares_dns.h"
#include "client/grpc_watch.h"
#include "client/guard/caller_core.h"
#include "client/lease/grpc_lease.h"
#include "client/loop.h"
#include "client/pause.h"
#include "client/registry_connection.h"

namespace muster::client {
namespace {

// gRPC counts milliseconds in 32 bits.
constexpr absl::Duration kLongestIdle = absl::Hours(24 * 20);

// As the name says whom it wants to talk to; "": it names addresses.
std::string AuthorityOf(const Target& target) {
  if (target.kind == Target::Kind::kStatic) return "";
  const Address& name = target.dns;
  return name.port == 0 ? name.host : base::FormatHostPort({name.host, name.port});
}

}  // namespace

absl::StatusOr<Client> Client::Create(Options options) {
  if (absl::Status status = FillFromEnvironment(&options); !status.ok()) return status;
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  for (absl::Duration* duration :
       {&options.first_answer, &options.keep_last, &options.idle, &options.snapshot_max_age}) {
    *duration = std::min(*duration, kLongest);
  }
  if (options.snapshot && options.snapshot_path.empty()) {
    options.snapshot_path = DefaultSnapshotPath(options.servers);
  }
  const Access access{.token = options.token,
                      .tls = options.tls,
                      .ca = options.ca,
                      .cert = options.cert,
                      .key = options.key};
  RegistryConnection::Parts parts{
      .clock = base::RealClock(),
      .rng = std::make_unique<base::SystemRng>(),
      .new_scheduler =
          [](const std::string& name) { return std::make_unique<Loop>(name, base::RealClock()); },
      .watches = std::make_unique<GrpcWatchTransport>(options.servers, access),
      .leases = std::make_unique<GrpcLeaseTransport>(options.servers, access)};
  parts.after_views = AfterViews;
  if (options.dns) {
    parts.dns = std::make_unique<CaresDns>(CaresDns::Options{.servers = options.dns_servers},
                                           base::RealClock());
  }
  if (options.overrides) {
    parts.overrides = Overrides(EnvironmentVariablesWith("_URL"), options.override_prefix);
  }
  return Client(RegistryConnection::Create(std::move(options), std::move(parts)));
}

absl::StatusOr<Resolution> Client::Resolve(std::string_view name) const {
  const auto target = ParseTarget(name);
  if (!target.ok()) return target.status();
  return connection_->Resolve(*target);
}

absl::StatusOr<Client::Subscription> Client::Watch(std::string_view name,
                                                   Connection::Listener listener) const {
  if (!listener) return absl::InvalidArgumentError("listener: there is none");
  const auto target = ParseTarget(name);
  if (!target.ok()) return target.status();
  return connection_->Watch(*target, std::move(listener));
}

absl::StatusOr<Balancer> Client::Balance(std::string_view name, BalanceOptions options) const {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  const auto target = ParseTarget(name);
  if (!target.ok()) return target.status();
  auto core = MakeBalancer(*connection_, *target, std::move(options), {});
  if (!core.ok()) return core.status();
  return Balancer(*std::move(core));
}

// What copies of a client have in common.
struct Client::Shared {
  struct One {
    Target target;
    Caller caller;
  };
  mutable base::Mutex mu;
  // By what the name means, so that a thousand paths of one service are one caller.
  absl::flat_hash_map<std::string, std::vector<One>> by_name MUSTER_GUARDED_BY(mu);
  absl::btree_map<std::string, std::shared_ptr<CallCounts>> counts MUSTER_GUARDED_BY(mu);

  const Caller* Find(const std::string& name, const Target& target) const MUSTER_REQUIRES(mu) {
    const auto found = by_name.find(name);
    if (found == by_name.end()) return nullptr;
    const auto one = std::find_if(found->second.begin(), found->second.end(),
                                  [&](const One& it) { return it.target == target; });
    return one == found->second.end() ? nullptr : &one->caller;
  }
  std::shared_ptr<CallCounts> CountsOf(const std::string& service) {
    base::MutexLock lock(mu);
    std::shared_ptr<CallCounts>& one = counts[service];
    if (one == nullptr) one = std::make_shared<CallCounts>(service);
    return one;
  }
  // Those that haven't been destroyed.
  struct Held {
    std::string service;
    const Registration* registration;
  };
  mutable base::Mutex held_mu;
  std::vector<Held> held MUSTER_GUARDED_BY(held_mu);

  std::vector<std::shared_ptr<CallCounts>> AllCounts() const {
    base::MutexLock lock(mu);
    std::vector<std::shared_ptr<CallCounts>> all;
    for (const auto& [service, one] : counts) all.push_back(one);
    return all;
  }
};

Client::Client(std::shared_ptr<Connection> connection)
    : connection_(std::move(connection)), shared_(std::make_shared<Shared>()) {}

absl::StatusOr<Caller> Client::CallerOf(std::string_view name, CallerOptions options) const {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  options.timeout = std::min(options.timeout, kLongest);
  const auto target = ParseTarget(name);
  if (!target.ok()) return target.status();
  auto balancer =
      MakeBalancer(*connection_, *target, options.balance,
                   {.breaker = options.endpoint_breaker, .most = options.most_left_out});
  if (!balancer.ok()) return balancer.status();
  const std::string service = NameOf(*target);
  return Caller(std::make_shared<CallerCore>(
      std::move(options), CallerCore::Parts{.service = service,
                                            .balancer = *std::move(balancer),
                                            .counts = shared_->CountsOf(service),
                                            .clock = base::RealClock(),
                                            .pause = [](absl::Duration time) { Pause(time); }}));
}

absl::StatusOr<std::shared_ptr<ServiceChannel>> Client::Channel(std::string_view name) const {
  return Channel(name, ChannelOptions{});
}

absl::StatusOr<std::shared_ptr<ServiceChannel>> Client::Channel(std::string_view name,
                                                                ChannelOptions options) const {
  CallerOptions& calls = options.caller;
  if (absl::Status status = CheckOptions(calls); !status.ok()) return status;
  if (options.idle < absl::Seconds(1)) return InvalidOption("idle", "is below 1s");
  calls.fallback = nullptr;  // it could not give a reply
  calls.timeout = std::min(calls.timeout, kLongest);
  options.idle = std::min(options.idle, kLongestIdle);
  const auto target = ParseTarget(name);
  if (!target.ok()) return target.status();
  std::string authority = options.authority.empty() ? AuthorityOf(*target) : options.authority;
  auto pool = std::make_shared<ChannelPool>(options, std::move(authority), base::RealClock());
  auto balancer =
      MakeBalancer(*connection_, *target, calls.balance,
                   {.breaker = calls.endpoint_breaker, .most = calls.most_left_out},
                   [weak = std::weak_ptr<ChannelPool>(pool)](const EndpointList& endpoints) {
                     if (const auto present = weak.lock()) present->Keep(endpoints);
                   });
  if (!balancer.ok()) return balancer.status();
  const std::string service = NameOf(*target);
  auto caller = std::make_shared<CallerCore>(
      std::move(calls), CallerCore::Parts{.service = service,
                                          .balancer = *balancer,
                                          .counts = shared_->CountsOf(service),
                                          .clock = base::RealClock(),
                                          .pause = [](absl::Duration time) { Pause(time); },
                                          .reach =
                                              [pool](const Endpoint& endpoint) {
                                                return ServiceChannelCore::ReachOf(*pool, endpoint);
                                              }});
  return std::make_shared<ServiceChannel>(std::make_shared<ServiceChannelCore>(
      std::move(caller), *std::move(balancer), std::move(pool)));
}

absl::Status Client::Call(std::string_view name, const Caller::Function& function,
                          Idempotent idempotent) const {
  auto target = ParseTarget(name);
  if (!target.ok()) return target.status();
  target->before.clear();
  target->after.clear();
  const std::string key = NameOf(*target);
  std::optional<Caller> caller;
  {
    base::MutexLock lock(shared_->mu);
    if (const Caller* found = shared_->Find(key, *target)) caller = *found;
  }
  if (!caller) {
    // Waits for the first answer, and others don't wait for it.
    auto made = CallerOf(name);
    if (!made.ok()) return made.status();
    base::MutexLock lock(shared_->mu);
    if (const Caller* found = shared_->Find(key, *target)) {
      caller = *found;
    } else {
      caller = *made;
      shared_->by_name[key].push_back({*std::move(target), *std::move(made)});
    }
  }
  return caller->Call(function, idempotent);
}

Metrics Client::metrics() const {
  Metrics metrics;
  for (const auto& one : shared_->AllCounts()) {
    metrics.services.push_back(one->Read(base::RealClock().Steady()));
  }
  base::MutexLock lock(shared_->held_mu);
  for (const Shared::Held& one : shared_->held) {
    metrics.registrations.push_back({one.service, one.registration->status()});
  }
  return metrics;
}

// Listed for as long as it is there. It keeps no caller of the client alive.
class Client::CountedRegistration : public Registration {
 public:
  CountedRegistration(std::unique_ptr<Registration> registration, std::string service,
                      const std::shared_ptr<Shared>& shared)
      : registration_(std::move(registration)), shared_(shared) {
    base::MutexLock lock(shared->held_mu);
    shared->held.push_back({std::move(service), registration_.get()});
  }
  ~CountedRegistration() override {
    const auto shared = shared_.lock();
    if (shared == nullptr) return;
    base::MutexLock lock(shared->held_mu);
    std::erase_if(shared->held,
                  [this](const auto& one) { return one.registration == registration_.get(); });
  }
  RegistrationStatus status() const override { return registration_->status(); }
  absl::Status WaitUntilHeld(absl::Duration within) override {
    return registration_->WaitUntilHeld(within);
  }
  absl::Status Report(std::string_view check_id, HealthReport report) override {
    return registration_->Report(check_id, std::move(report));
  }
  absl::StatusOr<Drained> Drain(absl::Duration within) override {
    return registration_->Drain(within);
  }
  absl::Status Deregister(absl::Duration within) override {
    return registration_->Deregister(within);
  }

 private:
  const std::unique_ptr<Registration> registration_;
  const std::weak_ptr<Shared> shared_;
};

absl::StatusOr<std::unique_ptr<Registration>> Client::Register(Instance instance,
                                                               RegisterOptions options) const {
  std::string service = instance.service;
  auto made = connection_->Register(std::move(instance), std::move(options));
  if (!made.ok()) return made;
  return std::make_unique<CountedRegistration>(*std::move(made), std::move(service), shared_);
}

}  // namespace muster::client

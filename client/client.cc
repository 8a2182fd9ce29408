#include "muster/client/client.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/names.h"
#include "base/net_address.h"
#include "base/rng.h"
#include "base/text.h"
#include "client/balance/balancer_core.h"
#include "client/environment.h"
#include "client/fallback/cares_dns.h"
#include "client/grpc_watch.h"
#include "client/guard/caller_core.h"
#include "client/lease/grpc_lease.h"
#include "client/loop.h"
#include "client/registry_connection.h"

namespace muster::client {
namespace {

// Longer ones, infinite ones too, mean this.
constexpr absl::Duration kLongest = absl::Hours(24 * 365);

absl::Status Invalid(std::string_view option, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(option), ": ", std::string(why)));
}

absl::Status CheckServers(const std::vector<std::string>& servers) {
  if (servers.empty()) return Invalid("servers", "there is none");
  for (const std::string& server : servers) {
    const auto address = base::ParseHostPort(server);
    if (!address.ok()) return Invalid("servers", base::Sv(address.status().message()));
    if (address->port == 0) return Invalid("servers", base::Quoted(server) + " has no port");
  }
  return absl::OkStatus();
}

absl::Status Check(const Options& options) {
  if (absl::Status status = CheckServers(options.servers); !status.ok()) return status;
  if (options.cert.empty() != options.key.empty()) return Invalid("cert", "goes together with key");
  const auto is_plain = [](char c) { return c >= ' ' && c <= '~'; };
  if (!std::all_of(options.token.begin(), options.token.end(), is_plain)) {
    return Invalid("token", "holds other than printable ASCII");
  }
  if (options.first_answer < absl::ZeroDuration()) return Invalid("first_answer", "is below 0");
  if (options.keep_last < absl::ZeroDuration()) return Invalid("keep_last", "is below 0");
  if (absl::Status status = CheckDnsServers(options.dns_servers); !status.ok()) {
    return Invalid("dns_servers", base::Sv(status.message()));
  }
  for (const auto& [service, addresses] : options.fallback_addresses) {
    for (const Address& address : addresses) {
      const base::IpKind kind = base::KindOfIp(address.host);
      const bool is_host = kind == base::IpKind::kNone && !address.host.empty() &&
                           base::HostNameProblem(address.host).empty();
      if (kind != base::IpKind::kUnspecified && (is_host || kind != base::IpKind::kNone)) continue;
      return Invalid("fallback_addresses", absl::StrCat(base::Quoted(address.host), " of ",
                                                        base::Quoted(service), " is no address"));
    }
  }
  if (options.snapshot_max_age < absl::ZeroDuration()) {
    return Invalid("snapshot_max_age", "is below 0");
  }
  if (options.idle < absl::Seconds(1)) return Invalid("idle", "is below 1s");
  return absl::OkStatus();
}

absl::Status Check(const BreakerOptions& breaker, std::string_view option) {
  if (!(breaker.error_share > 0 && breaker.error_share <= 1)) {
    return Invalid(option, "error_share is not above 0 and at most 1");
  }
  if (breaker.probes == 0) return Invalid(option, "probes is 0");
  if (breaker.window <= absl::ZeroDuration()) return Invalid(option, "window is not above 0");
  if (breaker.reset <= absl::ZeroDuration()) return Invalid(option, "reset is not above 0");
  if (std::max(breaker.window, breaker.reset) > kLongest) {
    return Invalid(option, "window or reset is above a year");
  }
  return absl::OkStatus();
}

absl::Status Check(const CallerOptions& options) {
  if (options.timeout <= absl::ZeroDuration()) return Invalid("timeout", "is not above 0");
  if (options.retry == nullptr) return Invalid("retry", "there is none");
  if (options.backoff == nullptr) return Invalid("backoff", "there is none");
  if (!(options.retry_budget >= 0 && options.retry_budget <= 100)) {
    return Invalid("retry_budget", "is not from 0 to 100");
  }
  if (!(options.most_left_out >= 0 && options.most_left_out <= 1)) {
    return Invalid("most_left_out", "is not from 0 to 1");
  }
  absl::Status status = Check(options.service_breaker, "service_breaker");
  return status.ok() ? Check(options.endpoint_breaker, "endpoint_breaker") : status;
}

// Between attempts.
void Wait(absl::Duration duration) {
  base::Mutex mu;
  base::CondVar never;
  const base::SteadyTime end = base::RealClock().Steady() + duration;
  base::MutexLock lock(mu);
  for (;;) {
    const absl::Duration left = end - base::RealClock().Steady();
    if (left <= absl::ZeroDuration()) return;
    never.WaitFor(mu, left);
  }
}

// What a target is called in messages, and by what it is known: the same for all paths of a URL.
std::string NameOf(const Target& target) {
  if (target.kind == Target::Kind::kService) return target.query.service;
  if (target.kind == Target::Kind::kDns) return target.dns.host;
  return target.addresses.front().host;
}

// Fed by the connection from now on.
absl::StatusOr<std::shared_ptr<BalancerCore>> MakeBalancer(Connection& connection,
                                                           const Target& target,
                                                           BalanceOptions options,
                                                           BalancerCore::Breaking breaking) {
  if (options.slow_start < absl::ZeroDuration()) return Invalid("slow_start", "is below 0");
  options.slow_start = std::min(options.slow_start, kLongest);
  // Views of all balancers are made on one thread, which lives as long as the process.
  static Loop& loop = *new Loop("muster-balance", base::RealClock());
  auto core = std::make_shared<BalancerCore>(std::move(options), breaking, base::SystemRng().Next(),
                                             base::RealClock(), loop);
  const std::string service = NameOf(target);
  const auto first = connection.Resolve(target);
  if (first.ok()) {
    core->Update(*first, service);
  } else if (absl::IsUnimplemented(first.status())) {
    return first.status();
  } else {
    core->Fail(first.status());
  }
  auto subscription = connection.Watch(
      target, [weak = std::weak_ptr<BalancerCore>(core), service](const Resolution& resolution) {
        loop.Post([weak, service, resolution] {
          if (const auto balancer = weak.lock()) balancer->Update(resolution, service);
        });
      });
  if (!subscription.ok()) return subscription.status();
  // What feeds it ends with the last handle and on its thread: the loop's, which may hold the core
  // for a moment longer, doesn't wait for a connection that ends.
  struct Fed {
    std::shared_ptr<BalancerCore> core;
    std::unique_ptr<Connection::Subscription> subscription;
  };
  auto fed = std::make_shared<Fed>(Fed{core, *std::move(subscription)});
  return std::shared_ptr<BalancerCore>(fed, core.get());
}

}  // namespace

absl::StatusOr<Client> Client::Create(Options options) {
  if (absl::Status status = Check(options); !status.ok()) return status;
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
  const auto target = ParseTarget(name);
  if (!target.ok()) return target.status();
  auto core = MakeBalancer(*connection_, *target, std::move(options), {});
  if (!core.ok()) return core.status();
  return Balancer(*std::move(core));
}

absl::StatusOr<Caller> Client::CallerOf(std::string_view name, CallerOptions options) const {
  if (absl::Status status = Check(options); !status.ok()) return status;
  options.timeout = std::min(options.timeout, kLongest);
  const auto target = ParseTarget(name);
  if (!target.ok()) return target.status();
  auto balancer =
      MakeBalancer(*connection_, *target, options.balance,
                   {.breaker = options.endpoint_breaker, .most = options.most_left_out});
  if (!balancer.ok()) return balancer.status();
  return Caller(std::make_shared<CallerCore>(std::move(options), NameOf(*target),
                                             *std::move(balancer), base::RealClock(), &Wait));
}

// By what the name means, so that a thousand paths of one service are one caller.
struct Client::Callers {
  struct One {
    Target target;
    Caller caller;
  };
  base::Mutex mu;
  absl::flat_hash_map<std::string, std::vector<One>> by_name MUSTER_GUARDED_BY(mu);

  const Caller* Find(const std::string& name, const Target& target) const MUSTER_REQUIRES(mu) {
    const auto found = by_name.find(name);
    if (found == by_name.end()) return nullptr;
    const auto one = std::find_if(found->second.begin(), found->second.end(),
                                  [&](const One& it) { return it.target == target; });
    return one == found->second.end() ? nullptr : &one->caller;
  }
};

Client::Client(std::shared_ptr<Connection> connection)
    : connection_(std::move(connection)), callers_(std::make_shared<Callers>()) {}

absl::Status Client::Call(std::string_view name, const Caller::Function& function,
                          Idempotent idempotent) const {
  auto target = ParseTarget(name);
  if (!target.ok()) return target.status();
  target->before.clear();
  target->after.clear();
  const std::string key = NameOf(*target);
  std::optional<Caller> caller;
  {
    base::MutexLock lock(callers_->mu);
    if (const Caller* found = callers_->Find(key, *target)) caller = *found;
  }
  if (!caller) {
    // Waits for the first answer, and others don't wait for it.
    auto made = CallerOf(name);
    if (!made.ok()) return made.status();
    base::MutexLock lock(callers_->mu);
    if (const Caller* found = callers_->Find(key, *target)) {
      caller = *found;
    } else {
      caller = *made;
      callers_->by_name[key].push_back({*std::move(target), *std::move(made)});
    }
  }
  return caller->Call(function, idempotent);
}

absl::StatusOr<std::unique_ptr<Registration>> Client::Register(Instance instance,
                                                               RegisterOptions options) const {
  return connection_->Register(std::move(instance), std::move(options));
}

}  // namespace muster::client

#include "client/registry_connection.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/names.h"
#include "base/text.h"
#include "client/lease/instance_request.h"
#include "client/lease/live_registration.h"

namespace muster::client {
namespace {

using Empty = Resolution::Empty;
using Source = Resolution::Source;

// With a snapshot at hand the registry is waited for only so long after the service was first asked
// for: most often it speaks at once, and fresh answers are better.
constexpr absl::Duration kSnapshotPatience = absl::Milliseconds(100);

constexpr absl::Duration kNoHurry = absl::Milliseconds(5);

// The same for the same query and no other. Its parts hold no byte 0.
std::string KeyOf(const Query& query) {
  const char zero = '\0';
  std::string key = absl::StrCat(query.ns, std::string(1, zero), query.service);
  const auto add = [&](char kind, const std::string& value) {
    if (value.empty()) return;
    key.push_back(zero);
    key.push_back(kind);
    key.append(value);
  };
  for (const std::string& tag : query.tags) add('t', tag);
  for (const auto& [name, value] : query.metadata) {
    add('m', name);
    add('=', value);
  }
  add('v', query.version);
  add('r', query.region);
  add('z', query.zone);
  add('p', query.port_name);
  key.push_back(zero);
  key.push_back(static_cast<char>('0' + static_cast<int>(query.min_health)));
  if (query.include_draining) key.push_back('d');
  return key;
}

// No key of a query begins so.
std::string KeyOf(const Address& host) {
  return absl::StrCat(std::string(1, '\0'), base::AsciiLower(host.host), ":", host.port);
}

Resolution StaticAnswer(const std::vector<Address>& addresses) {
  auto endpoints = std::make_shared<EndpointList>();
  for (const Address& address : addresses) {
    endpoints->push_back(std::make_shared<const Endpoint>(
        Endpoint{.id = absl::StrCat(address.host, ":", address.port), .address = address}));
  }
  return {.endpoints = std::move(endpoints), .source = Source::kStatic};
}

std::map<std::string, Resolution> FixedAnswers(const Options& options) {
  std::map<std::string, Resolution> answers;
  for (const auto& [service, addresses] : options.fallback_addresses) {
    answers[service] = StaticAnswer(addresses);
  }
  return answers;
}

// What an override asks for.
std::string InsteadOf(const Target& target, const std::string& variable) {
  const bool is_service = target.kind == Target::Kind::kService;
  return absl::StrCat(base::Quoted(is_service ? target.query.service : target.dns.host), " of ",
                      variable);
}

absl::Status NotLookedUp() {
  return absl::UnimplementedError("Options::dns is off, so that no name of DNS is looked up");
}

}  // namespace

class RegistryConnection::Held : public Connection::Subscription {
 public:
  Held(std::shared_ptr<RegistryConnection> connection, ListeningPtr listening)
      : connection_(std::move(connection)), listening_(std::move(listening)) {}
  ~Held() override { listening_->End(connection_->callbacks_->Runs()); }

 private:
  const std::shared_ptr<RegistryConnection> connection_;
  const ListeningPtr listening_;
};

std::shared_ptr<RegistryConnection> RegistryConnection::Create(Options options, Parts parts) {
  std::shared_ptr<RegistryConnection> connection(
      new RegistryConnection(std::move(options), std::move(parts)));
  RegistryConnection& it = *connection;
  {
    base::MutexLock lock(it.way_back_->mu);
    it.way_back_->scheduler = it.scheduler_.get();
  }
  it.scheduler_->At(it.scheduler_->Now() + it.options_.idle / 2, [&it] { it.LetGoOfIdle(); });
  return connection;
}

RegistryConnection::RegistryConnection(Options options, Parts parts)
    : options_(std::move(options)),
      clock_(parts.clock),
      rng_(std::move(parts.rng)),
      new_scheduler_(std::move(parts.new_scheduler)),
      scheduler_(new_scheduler_("muster-client")),
      callbacks_(new_scheduler_("muster-calls")),
      watches_(std::move(parts.watches)),
      leases_(std::move(parts.leases)),
      overrides_(std::move(parts.overrides)),
      after_views_(std::move(parts.after_views)),
      fixed_(FixedAnswers(options_)),
      dns_(std::move(parts.dns)),
      registrar_(std::make_unique<Registrar>(*scheduler_, *leases_, *rng_, Registrar::Options{})),
      feed_(std::make_unique<Feed>(*scheduler_, *watches_, *rng_, Feed::Options{},
                                   static_cast<Feed::Sink&>(*this))) {
  if (!options_.snapshot || options_.snapshot_path.empty()) return;
  snapshot_ = std::make_unique<SnapshotKeeper>(
      SnapshotKeeper::Options{.path = options_.snapshot_path, .max_age = options_.snapshot_max_age},
      clock_, *scheduler_, new_scheduler_("muster-snapshot"), [this] { return Collect(); });
}

RegistryConnection::~RegistryConnection() {
  {
    base::MutexLock lock(way_back_->mu);
    way_back_->scheduler = nullptr;
  }
  scheduler_->Stop();
  if (snapshot_ != nullptr) snapshot_->Finish();
  dns_ = nullptr;
  feed_ = nullptr;
  registrar_ = nullptr;
  callbacks_->Stop();
}

Target RegistryConnection::Overridden(const Target& target, bool* is) const {
  *is = false;
  if (target.kind != Target::Kind::kService) return target;
  const Target* override = overrides_.Find(target.query.service);
  if (override == nullptr) return target;
  if (override->kind != Target::Kind::kService || override->query.service != target.query.service) {
    *is = true;
    return *override;
  }
  // USER_SERVICE_URL=http://user-service:8002 tells no more than the port of its DNS name.
  Target out = target;
  if (out.dns.port == 0) out.dns.port = override->dns.port;
  return out;
}

std::string RegistryConnection::VariableOf(const Target& target) const {
  return options_.override_prefix + Overrides::VariableOf(target.query.service);
}

absl::StatusOr<Resolution> RegistryConnection::Resolve(const Target& target) {
  bool is_override = false;
  const Target wanted = Overridden(target, &is_override);
  auto answer = ResolveHere(wanted);
  if (!is_override) return answer;
  const std::string variable = VariableOf(target);
  if (!answer.ok()) {
    return absl::Status(answer.status().code(),
                        absl::StrCat(variable, ": ", answer.status().message()));
  }
  answer->source = Source::kOverride;
  answer->instead = InsteadOf(wanted, variable);
  return answer;
}

absl::StatusOr<Resolution> RegistryConnection::ResolveHere(const Target& target) {
  if (target.kind == Target::Kind::kStatic) return StaticAnswer(target.addresses);
  if (target.kind == Target::Kind::kDns) {
    return dns_ == nullptr ? NotLookedUp() : ResolveHost(target.dns);
  }
  bool goes_on = false;
  auto answer = ResolveService(target.query, &goes_on);
  if (!goes_on) return answer;
  absl::Status dns;
  if (AsksDns(target)) {
    auto by_dns = ResolveHost(target.dns);
    if (by_dns.ok() && !by_dns->endpoints->empty()) return by_dns;
    dns = by_dns.ok() ? absl::NotFoundError("DNS knows no address of it") : by_dns.status();
  }
  if (const Resolution* fixed = FixedAnswer(target.query)) return *fixed;
  if (answer.ok()) return answer;
  // Nobody else knows it: the registry may come, as one that starts together with this process.
  answer = ResolveService(target.query, &goes_on, /*patient=*/true);
  if (answer.ok() || dns.ok()) return answer;
  return absl::Status(answer.status().code(),
                      absl::StrCat(answer.status().message(), "; ", dns.message()));
}

absl::StatusOr<Resolution> RegistryConnection::ResolveService(const Query& query, bool* goes_on,
                                                              bool patient) {
  const base::SteadyTime now = scheduler_->Now();
  const EntryPtr entry = FindService(query, now);
  auto known = entry->service.Answer(now);
  // Other callbacks would wait for one that waits.
  const bool may_wait = !callbacks_->Runs();
  if (known && known->source == Source::kSnapshot && may_wait && !lost_now_) {
    const base::SteadyTime until =
        entry->began + std::min(kSnapshotPatience, options_.first_answer);
    entry->service.WaitForRegistry(until - now, clock_);
    known = entry->service.Answer(scheduler_->Now());
  }
  if (known) {
    *goes_on = GoesOn(*known);
    return *std::move(known);
  }
  // Who can go on elsewhere doesn't wait for a registry that is known to be away.
  const bool has_others = !patient && (dns_ != nullptr || !fixed_.empty());
  const base::SteadyTime until = entry->began + options_.first_answer;
  const bool waits = may_wait && !(has_others && lost_now_);
  auto answer = entry->service.Wait(waits ? until - now : absl::ZeroDuration(), clock_, has_others);
  if (answer.ok()) {
    *goes_on = GoesOn(*answer);
    return answer;
  }
  // It had its chance.
  *goes_on = waits || lost_now_ || now >= until || entry->service.refused();
  return NoAnswer(query, answer.status());
}

absl::StatusOr<Resolution> RegistryConnection::ResolveHost(const Address& host) {
  const base::SteadyTime now = scheduler_->Now();
  const EntryPtr entry = FindHost(host, now);
  if (auto known = entry->service.Answer(now)) return *std::move(known);
  const absl::Duration patience =
      callbacks_->Runs() ? absl::ZeroDuration() : entry->began + options_.first_answer - now;
  auto answer = entry->service.Wait(patience, clock_);
  if (answer.ok() || !absl::IsDeadlineExceeded(answer.status())) return answer;
  return absl::UnavailableError(
      absl::StrCat("DNS has told nothing of ", base::Quoted(host.host), " yet"));
}

absl::Status RegistryConnection::NoAnswer(const Query& query, const absl::Status& waited) const {
  const std::string service = base::Quoted(query.service);
  if (!absl::IsDeadlineExceeded(waited)) {
    return absl::Status(waited.code(), absl::StrCat("the registry doesn't tell of ", service, ": ",
                                                    waited.message()));
  }
  base::MutexLock lock(mu_);
  return absl::UnavailableError(
      absl::StrCat("the registry has told nothing of ", service, " yet",
                   lost_.ok() ? "" : absl::StrCat(": ", lost_.message())));
}

bool RegistryConnection::GoesOn(const Resolution& answer) const {
  if (answer.empty == Empty::kUnknownService) return true;
  return answer.empty == Empty::kAllUnhealthy && options_.dns_when_unhealthy;
}

bool RegistryConnection::AsksDns(const Target& target) const {
  return dns_ != nullptr && !target.dns.host.empty() &&
         base::HostNameProblem(target.dns.host).empty();
}

const Resolution* RegistryConnection::FixedAnswer(const Query& query) const {
  const auto found = fixed_.find(query.service);
  return found == fixed_.end() ? nullptr : &found->second;
}

RegistryConnection::EntryPtr RegistryConnection::FindService(const Query& query,
                                                             base::SteadyTime now) {
  std::string key = KeyOf(query);
  base::MutexLock lock(mu_);
  EntryPtr& entry = entries_[key];
  if (entry == nullptr) {
    entry = std::make_shared<Entry>(query, std::move(key), now);
    auto saved = snapshot_ == nullptr ? std::nullopt : snapshot_->Find(entry->key);
    if (saved) {
      const absl::Duration age = std::max(clock_.System() - saved->confirmed, absl::ZeroDuration());
      entry->service.Prime(std::move(saved->endpoints), now - age);
    }
    FollowSoon(entry, now);
  }
  entry->asked_us = now.us;
  return entry;
}

void RegistryConnection::FollowSoon(const EntryPtr& entry, base::SteadyTime now) {
  new_entries_.push_back(entry);
  if (new_entries_.size() > 1) return;
  const auto follow = [this] { FollowNew(); };
  // While no registry speaks there is no hurry, and an application that asks for a thousand
  // services needn't wake the scheduler for each.
  if (lost_now_ && !entry->host) {
    scheduler_->At(now + kNoHurry, follow);
  } else {
    scheduler_->Post(follow);
  }
}

RegistryConnection::EntryPtr RegistryConnection::FindHost(const Address& host,
                                                          base::SteadyTime now) {
  std::string key = KeyOf(host);
  base::MutexLock lock(mu_);
  EntryPtr& entry = entries_[key];
  if (entry == nullptr) {
    entry = std::make_shared<Entry>(host, std::move(key), now);
    FollowSoon(entry, now);
  }
  entry->asked_us = now.us;
  return entry;
}

size_t RegistryConnection::followed() const {
  base::MutexLock lock(mu_);
  return entries_.size();
}

absl::StatusOr<std::unique_ptr<Connection::Subscription>> RegistryConnection::Watch(
    const Target& given, Listener listener) {
  bool is_override = false;
  const Target target = Overridden(given, &is_override);
  if (target.kind == Target::Kind::kDns && dns_ == nullptr) return NotLookedUp();
  if (is_override) {
    listener = [listener = std::move(listener),
                instead = InsteadOf(target, VariableOf(given))](Resolution answer) {
      answer.source = Source::kOverride;
      answer.instead = instead;
      listener(answer);
    };
  }
  auto listening = std::make_shared<Listening<Resolution>>(std::move(listener));
  if (target.kind == Target::Kind::kStatic) {
    callbacks_->Post(
        [listening, answer = StaticAnswer(target.addresses)] { listening->Tell(answer); });
  } else {
    const base::SteadyTime now = scheduler_->Now();
    const EntryPtr entry = target.kind == Target::Kind::kDns ? FindHost(target.dns, now)
                                                             : FindService(target.query, now);
    scheduler_->Post([this, entry, listening, target] { Listen(entry, {listening, target, {}}); });
  }
  return std::make_unique<Held>(shared_from_this(), std::move(listening));
}

absl::StatusOr<std::unique_ptr<Registration>> RegistryConnection::Register(
    Instance instance, RegisterOptions options) {
  auto request = ToRegister(instance, options);
  if (!request.ok()) return request.status();
  // Registering again after a loss is the same life.
  base::SystemRng rng;
  for (int i = 0; i < 16; ++i) request->mutable_life_id()->push_back(static_cast<char>(rng.Next()));
  return std::make_unique<LiveRegistration>(
      LiveRegistration::Parts{.owner = shared_from_this(),
                              .registrar = *registrar_,
                              .work = *scheduler_,
                              .callbacks = *callbacks_,
                              .clock = clock_,
                              .new_scheduler = [this] { return new_scheduler_("muster-probes"); }},
      *std::move(request), std::move(instance.ttl_checks), std::move(options));
}

}  // namespace muster::client

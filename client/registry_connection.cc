#include "client/registry_connection.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/text.h"
#include "client/lease/instance_request.h"
#include "client/lease/live_registration.h"
#include "client/wire.h"

namespace muster::client {
namespace {

Resolution::Empty EmptyOf(v1::EmptyReason reason) {
  switch (reason) {
    case v1::UNKNOWN_SERVICE:
      return Resolution::Empty::kUnknownService;
    case v1::ALL_UNHEALTHY:
      return Resolution::Empty::kAllUnhealthy;
    case v1::FILTERED_OUT:
      return Resolution::Empty::kFilteredOut;
    default:
      return Resolution::Empty::kNoInstances;
  }
}

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

Resolution StaticAnswer(const std::vector<Address>& addresses) {
  auto endpoints = std::make_shared<EndpointList>();
  for (const Address& address : addresses) {
    endpoints->push_back(std::make_shared<const Endpoint>(Endpoint{.address = address}));
  }
  return {.endpoints = std::move(endpoints), .source = Resolution::Source::kStatic};
}

absl::Status NotLookedUp() {
  return absl::UnimplementedError("names of DNS aren't looked up by this version");
}

}  // namespace

class RegistryConnection::Held : public Connection::Subscription {
 public:
  Held(std::shared_ptr<RegistryConnection> connection,
       std::shared_ptr<Listening<Resolution>> listening)
      : connection_(std::move(connection)), listening_(std::move(listening)) {}
  ~Held() override { listening_->End(connection_->callbacks_->Runs()); }

 private:
  const std::shared_ptr<RegistryConnection> connection_;
  const std::shared_ptr<Listening<Resolution>> listening_;
};

std::shared_ptr<RegistryConnection> RegistryConnection::Create(Options options, Parts parts) {
  std::shared_ptr<RegistryConnection> connection(
      new RegistryConnection(std::move(options), std::move(parts)));
  RegistryConnection& it = *connection;
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
      registrar_(std::make_unique<Registrar>(*scheduler_, *leases_, *rng_, Registrar::Options{})),
      feed_(std::make_unique<Feed>(*scheduler_, *watches_, *rng_, Feed::Options{},
                                   static_cast<Feed::Sink&>(*this))) {}

RegistryConnection::~RegistryConnection() {
  scheduler_->Stop();
  feed_ = nullptr;
  registrar_ = nullptr;
  callbacks_->Stop();
}

absl::StatusOr<Resolution> RegistryConnection::Resolve(const Target& target) {
  switch (target.kind) {
    case Target::Kind::kStatic:
      return StaticAnswer(target.addresses);
    case Target::Kind::kDns:
      return NotLookedUp();
    case Target::Kind::kService:
      break;
  }
  return ResolveService(target.query);
}

absl::StatusOr<Resolution> RegistryConnection::ResolveService(const Query& query) {
  const base::SteadyTime now = scheduler_->Now();
  const EntryPtr entry = Find(query, now);
  if (auto answer = entry->service.Answer(now)) return *std::move(answer);
  // Other callbacks would wait for one that waits.
  const absl::Duration patience =
      callbacks_->Runs() ? absl::ZeroDuration() : entry->began + options_.first_answer - now;
  auto answer = entry->service.Wait(patience, clock_);
  return answer.ok() ? std::move(answer) : NoAnswer(query, answer.status());
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

RegistryConnection::EntryPtr RegistryConnection::Find(const Query& query, base::SteadyTime now) {
  std::string key = KeyOf(query);
  base::MutexLock lock(mu_);
  EntryPtr& entry = entries_[std::move(key)];
  if (entry == nullptr) {
    entry = std::make_shared<Entry>(query, now);
    scheduler_->Post([this, entry] { Follow(entry); });
  }
  entry->asked_us = now.us;
  return entry;
}

size_t RegistryConnection::followed() const {
  base::MutexLock lock(mu_);
  return entries_.size();
}

void RegistryConnection::Follow(const EntryPtr& entry) {
  entry->id = feed_->Add(ToSubscribe(entry->service.query()));
  by_id_[*entry->id] = entry;
}

absl::StatusOr<std::unique_ptr<Connection::Subscription>> RegistryConnection::Watch(
    const Target& target, Listener listener) {
  if (target.kind == Target::Kind::kDns) return NotLookedUp();
  auto listening = std::make_shared<Listening<Resolution>>(std::move(listener));
  if (target.kind == Target::Kind::kStatic) {
    callbacks_->Post(
        [listening, answer = StaticAnswer(target.addresses)] { listening->Tell(answer); });
  } else {
    const EntryPtr entry = Find(target.query, scheduler_->Now());
    scheduler_->Post([this, entry, listening] { Listen(entry, listening); });
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

void RegistryConnection::Listen(const EntryPtr& entry,
                                std::shared_ptr<Listening<Resolution>> listening) {
  // It was let go of while this task waited.
  if (!entry->id) {
    Follow(entry);
    base::MutexLock lock(mu_);
    entries_.try_emplace(KeyOf(entry->service.query()), entry);
  }
  if (auto answer = entry->service.Answer(scheduler_->Now())) {
    callbacks_->Post([listening, answer = *std::move(answer)] { listening->Tell(answer); });
  }
  entry->listeners.push_back(std::move(listening));
}

void RegistryConnection::Tell(const EntryPtr& entry) {
  std::erase_if(entry->listeners, [](const auto& listening) { return listening->ended(); });
  if (entry->listeners.empty()) return;
  const auto answer = entry->service.Answer(scheduler_->Now());
  if (!answer) return;
  callbacks_->Post([listeners = entry->listeners, answer = *answer] {
    for (const auto& listening : listeners) listening->Tell(answer);
  });
}

void RegistryConnection::OnUpdate(const Following::Update& update, const EndpointSet& set) {
  const EntryPtr entry = by_id_.at(update.id);
  const base::SteadyTime now = scheduler_->Now();
  {
    base::MutexLock lock(mu_);
    lost_ = absl::OkStatus();
  }
  if (update.ended) {
    const absl::Status why(static_cast<absl::StatusCode>(update.ended->code()),
                           base::EscapeForTerminal(update.ended->message()));
    if (entry->service.Refuse(why, now)) Tell(entry);
    return;
  }
  if (update.applied.reset || !update.applied.problem.empty()) {
    const absl::Status why = absl::DataLossError(
        absl::StrCat("the registry's answers don't fit together: ", update.applied.problem));
    const bool changed =
        update.applied.problem.empty() ? entry->service.Lose(now) : entry->service.Refuse(why, now);
    if (changed) Tell(entry);
    return;
  }
  if (!update.applied.complete) return;
  EndpointList selected = Select(entry->service.query(), set.List());
  const auto empty =
      set.size() > 0 ? Resolution::Empty::kFilteredOut : EmptyOf(update.applied.empty_reason);
  std::optional<base::SteadyTime> settle_at;
  const bool changed =
      entry->service.Take(std::move(selected), empty, now, options_.keep_last, &settle_at);
  if (settle_at) SettleLater(entry, *settle_at);
  if (changed) Tell(entry);
}

void RegistryConnection::SettleLater(const EntryPtr& entry, base::SteadyTime at) {
  scheduler_->At(at, [this, entry] {
    if (entry->service.Settle(scheduler_->Now())) Tell(entry);
  });
}

void RegistryConnection::OnLost(const absl::Status& why, bool refused) {
  const absl::Status plain(why.code(), base::EscapeForTerminal(base::Sv(why.message())));
  {
    base::MutexLock lock(mu_);
    lost_ = plain;
  }
  for (const auto& [id, entry] : by_id_) {
    const bool changed = refused ? entry->service.Refuse(plain, feed_->heard())
                                 : entry->service.Lose(feed_->heard());
    if (changed) Tell(entry);
  }
}

bool RegistryConnection::IsIdle(Entry& entry, base::SteadyTime now) const {
  std::erase_if(entry.listeners, [](const auto& listening) { return listening->ended(); });
  if (!entry.id || !entry.listeners.empty()) return false;
  // Somebody may still wait for the first answer.
  if (entry.asked_us > (now - options_.idle).us || now < entry.began + options_.first_answer) {
    return false;
  }
  // What can't be asked for again is kept.
  return feed_->connected() || !entry.service.Answer(now);
}

void RegistryConnection::LetGoOfIdle() {
  const base::SteadyTime now = scheduler_->Now();
  std::vector<EntryPtr> idle;
  {
    base::MutexLock lock(mu_);
    absl::erase_if(entries_, [&](const auto& named) {
      if (!IsIdle(*named.second, now)) return false;
      idle.push_back(named.second);
      return true;
    });
  }
  for (const EntryPtr& entry : idle) {
    feed_->Remove(*entry->id);
    by_id_.erase(*entry->id);
    entry->id.reset();
  }
  scheduler_->At(now + options_.idle / 2, [this] { LetGoOfIdle(); });
}

}  // namespace muster::client

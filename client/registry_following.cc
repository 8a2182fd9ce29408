// What RegistryConnection does on its scheduler.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/text.h"
#include "client/registry_connection.h"
#include "client/wire.h"

namespace muster::client {
namespace {

using Empty = Resolution::Empty;

// A name is not looked up more often, whatever its TTL: also how long DNS's no is believed.
constexpr absl::Duration kShortestTtl = absl::Seconds(1);
constexpr absl::Duration kLongestTtl = absl::Hours(1);

Empty EmptyOf(v1::EmptyReason reason) {
  switch (reason) {
    case v1::UNKNOWN_SERVICE:
      return Empty::kUnknownService;
    case v1::ALL_UNHEALTHY:
      return Empty::kAllUnhealthy;
    case v1::FILTERED_OUT:
      return Empty::kFilteredOut;
    default:
      return Empty::kNoInstances;
  }
}

// In one order, whatever order DNS chose this time, and by the same pointers as in `former` where
// nothing changed.
EndpointList InOrder(EndpointList endpoints, const EndpointList& former) {
  std::sort(endpoints.begin(), endpoints.end(),
            [](const EndpointPtr& a, const EndpointPtr& b) { return a->id < b->id; });
  for (EndpointPtr& endpoint : endpoints) {
    const auto same = std::find_if(former.begin(), former.end(),
                                   [&](const EndpointPtr& one) { return *one == *endpoint; });
    if (same != former.end()) endpoint = *same;
  }
  return endpoints;
}

}  // namespace

void RegistryConnection::FollowNew() {
  std::vector<EntryPtr> entries;
  {
    base::MutexLock lock(mu_);
    entries.swap(new_entries_);
  }
  for (const EntryPtr& entry : entries) Follow(entry);
}

void RegistryConnection::Follow(const EntryPtr& entry) {
  if (entry->followed) return;
  entry->followed = true;
  if (entry->host) return LookUp(entry);
  v1::Subscribe wanted = ToSubscribe(entry->service.query());
  wanted.set_acks(true);
  entry->id = feed_->Add(std::move(wanted));
  by_id_[entry->id] = entry;
}

void RegistryConnection::LetGo(Entry& entry) {
  entry.followed = false;
  if (entry.host) return;
  feed_->Remove(entry.id);
  by_id_.erase(entry.id);
  // Without a service nobody tries any more.
  if (by_id_.empty()) lost_now_ = false;
}

void RegistryConnection::OnUpdate(const Following::Update& update, const EndpointSet& set) {
  const EntryPtr entry = by_id_.at(update.id);
  const base::SteadyTime now = scheduler_->Now();
  if (lost_now_.exchange(false)) base::Log(base::LogLevel::kInfo, "the registry answers again");
  {
    base::MutexLock lock(mu_);
    lost_ = absl::OkStatus();
  }
  if (update.ended) {
    const absl::Status why(static_cast<absl::StatusCode>(update.ended->code()),
                           base::EscapeForTerminal(update.ended->message()));
    entry->service.Refuse(why, now);
    Tell(entry);
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
  Take(entry, Select(entry->service.query(), set.List()),
       set.size() > 0 ? Empty::kFilteredOut : EmptyOf(update.applied.empty_reason),
       update.applied.new_epoch);
  if (update.ack) entry->owed = update.ack;
  Confirm(*entry);
}

void RegistryConnection::Confirm(Entry& entry) {
  // What was there last may be called for a while, in place of an empty answer: that isn't yet out
  // of use.
  if (!entry.owed || !entry.service.is_current()) return;
  Scheduler::Task confirm = [this, id = entry.id, ack = *std::exchange(entry.owed, std::nullopt)] {
    feed_->Confirm(id, ack);
  };
  Scheduler::Task back = [way = way_back_, confirm = std::move(confirm)] {
    base::MutexLock lock(way->mu);
    if (way->scheduler != nullptr) way->scheduler->Post(confirm);
  };
  // Behind what listeners are told, and behind what those of balancers make of it.
  callbacks_->Post([after_views = after_views_, back = std::move(back)] {
    if (after_views) return after_views(back);
    back();
  });
}

void RegistryConnection::Take(const EntryPtr& entry, EndpointList endpoints, Empty why,
                              bool new_store) {
  std::optional<base::SteadyTime> settle_at;
  const bool changed = entry->service.Take(std::move(endpoints), why, scheduler_->Now(),
                                           options_.keep_last, &settle_at, new_store);
  if (settle_at) {
    scheduler_->At(*settle_at, [this, entry] {
      if (!entry->service.Settle(scheduler_->Now())) return;
      Tell(entry);
      Confirm(*entry);
    });
  }
  if (!changed) return;
  if (snapshot_ != nullptr && !entry->host) snapshot_->Changed();
  Tell(entry);
}

void RegistryConnection::OnLost(const absl::Status& why, const Failover::Next& next) {
  const absl::Status plain(why.code(), base::EscapeForTerminal(base::Sv(why.message())));
  if (next.all && !lost_now_.exchange(true)) {
    base::Log(base::LogLevel::kWarn,
              next.refused ? "the registry refuses this client"
                           : "no registry answers; what is known stays",
              {{"why", plain.ToString()}});
  }
  {
    base::MutexLock lock(mu_);
    lost_ = plain;
  }
  for (const auto& [id, entry] : by_id_) {
    if (next.refused) {
      entry->service.Refuse(plain, feed_->heard());
    } else {
      entry->service.Lose(feed_->heard(), !next.all);
    }
    Tell(entry);
  }
}

void RegistryConnection::LookUp(const EntryPtr& entry) {
  // It outlives the connection in the hands of the resolver.
  dns_->Lookup(*entry->host,
               [this, entry, &scheduler = *scheduler_](absl::StatusOr<DnsAnswer> answer) {
                 scheduler.Post([this, entry, answer = std::move(answer)]() mutable {
                   if (entry->followed) OnLookedUp(entry, std::move(answer));
                 });
               });
}

void RegistryConnection::OnLookedUp(const EntryPtr& entry, absl::StatusOr<DnsAnswer> answer) {
  const base::SteadyTime now = scheduler_->Now();
  absl::Duration again = kShortestTtl;
  if (answer.ok()) {
    again = std::clamp(answer->ttl, kShortestTtl, kLongestTtl);
    entry->looked_up = now;
    const auto former = entry->service.Answer(now);
    Take(entry, InOrder(std::move(answer->endpoints), former ? *former->endpoints : EndpointList()),
         Empty::kNot);
  } else if (absl::IsNotFound(answer.status())) {
    entry->looked_up = now;
    Take(entry, {}, Empty::kUnknownService);
  } else if (entry->service.Refuse(answer.status(), entry->looked_up)) {
    Tell(entry);
  }
  scheduler_->At(now + again, [this, entry] {
    if (entry->followed) LookUp(entry);
  });
}

void RegistryConnection::EraseEnded(Entry& entry) {
  std::erase_if(entry.listeners, [](const Audience& one) { return one.listening->ended(); });
}

void RegistryConnection::Listen(const EntryPtr& entry, Audience audience) {
  // It was let go of while this task waited.
  if (!entry->followed) {
    Follow(entry);
    base::MutexLock lock(mu_);
    entries_.try_emplace(entry->key, entry);
  }
  EraseEnded(*entry);
  entry->listeners.push_back(std::move(audience));
  FallBack(entry);
  Tell(*entry, entry->listeners.back());
}

void RegistryConnection::Tell(const EntryPtr& entry) {
  EraseEnded(*entry);
  FallBack(entry);
  for (Audience& audience : entry->listeners) Tell(*entry, audience);
  for (const auto& dependent : entry->dependents) {
    const EntryPtr service = dependent.lock();
    if (service != nullptr && NeedsDns(*service)) Tell(service);
  }
}

void RegistryConnection::Tell(const Entry& entry, Audience& audience) {
  auto answer = AnswerFor(entry, audience.target);
  if (!answer) return;
  // That it is older than before is nothing new.
  const auto& told = audience.told;
  if (told && told->endpoints == answer->endpoints && told->source == answer->source &&
      told->empty == answer->empty) {
    return;
  }
  audience.told = *answer;
  callbacks_->Post(
      [listening = audience.listening, answer = *std::move(answer)] { listening->Tell(answer); });
}

bool RegistryConnection::NeedsDns(const Entry& entry) const {
  if (entry.host || entry.listeners.empty()) return false;
  const auto answer = entry.service.Answer(scheduler_->Now());
  return answer ? GoesOn(*answer) : lost_now_ || entry.service.refused();
}

void RegistryConnection::FallBack(const EntryPtr& entry) {
  if (!NeedsDns(*entry)) return;
  const base::SteadyTime now = scheduler_->Now();
  for (const Audience& audience : entry->listeners) {
    if (!AsksDns(audience.target)) continue;
    const EntryPtr host = FindHost(audience.target.dns, now);
    const bool knows = std::any_of(host->dependents.begin(), host->dependents.end(),
                                   [&](const auto& one) { return one.lock() == entry; });
    if (!knows) host->dependents.push_back(entry);
  }
}

std::optional<Resolution> RegistryConnection::AnswerFor(const Entry& entry, const Target& target) {
  const base::SteadyTime now = scheduler_->Now();
  auto answer = entry.service.Answer(now);
  if (!NeedsDns(entry)) return answer;
  if (AsksDns(target)) {
    auto by_dns = FindHost(target.dns, now)->service.Answer(now);
    if (by_dns && !by_dns->endpoints->empty()) return by_dns;
  }
  if (const Resolution* fixed = FixedAnswer(target.query)) return *fixed;
  return answer;
}

bool RegistryConnection::IsIdle(Entry& entry, base::SteadyTime now) const {
  EraseEnded(entry);
  std::erase_if(entry.dependents, [this](const auto& dependent) {
    const EntryPtr service = dependent.lock();
    return service == nullptr || !NeedsDns(*service);
  });
  if (!entry.followed || !entry.listeners.empty() || !entry.dependents.empty()) return false;
  // Somebody may still wait for the first answer.
  if (entry.asked_us > (now - options_.idle).us || now < entry.began + options_.first_answer) {
    return false;
  }
  // What can't be asked for again is kept.
  return entry.host || feed_->connected() || !entry.service.Answer(now);
}

void RegistryConnection::LetGoOfIdle() {
  const base::SteadyTime now = scheduler_->Now();
  std::vector<EntryPtr> all;
  {
    base::MutexLock lock(mu_);
    for (const auto& [key, entry] : entries_) all.push_back(entry);
  }
  std::erase_if(all, [&](const EntryPtr& entry) { return !IsIdle(*entry, now); });
  {
    base::MutexLock lock(mu_);
    for (const EntryPtr& entry : all) entries_.erase(entry->key);
  }
  for (const EntryPtr& entry : all) LetGo(*entry);
  scheduler_->At(now + options_.idle / 2, [this] { LetGoOfIdle(); });
}

std::vector<SavedService> RegistryConnection::Collect() const {
  std::vector<SavedService> services;
  services.reserve(by_id_.size());
  const base::SteadyTime now = scheduler_->Now();
  const base::SystemTime time = clock_.System();
  for (const auto& [id, entry] : by_id_) {
    // Of what isn't known the file may know more.
    const auto answer = entry->service.Answer(now);
    if (answer) services.push_back({entry->key, time - answer->age, answer->endpoints});
  }
  return services;
}

}  // namespace muster::client

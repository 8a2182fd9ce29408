#include "server/health/check_scheduler.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/net_address.h"
#include "base/text.h"
#include "server/core/check_target.h"

namespace muster::health {
namespace {

// Without anything to do it looks this often, to notice gaps.
constexpr absl::Duration kLookEvery = absl::Milliseconds(500);
constexpr absl::Duration kTellEvery = absl::Seconds(60);
constexpr absl::Duration kGap = absl::Milliseconds(1500);
// So many wakes of the past are kept without need.
constexpr size_t kOldWakes = 1000;

base::HostPort TargetOf(const v1::Check& check, const Followed& instance) {
  const base::HostPort own = {instance.address, static_cast<uint16_t>(instance.port)};
  const auto given = [&](const std::string& target) {
    const auto parsed = target.empty() ? own : core::ParseCheckTarget(target);
    return parsed.ok() ? *parsed : own;
  };
  switch (check.kind_case()) {
    case v1::Check::kHttp: {
      const auto target = core::ParseHttpTarget(check.http().url());
      return target.ok() && !target->own ? target->at : own;
    }
    case v1::Check::kTcp:
      return given(check.tcp().target());
    case v1::Check::kGrpc:
      return given(check.grpc().target());
    default:
      return {};
  }
}

Aim AimOf(const v1::Check& check, const Followed& instance) {
  base::HostPort at = TargetOf(check, instance);
  std::string text = base::FormatHostPort(at);
  return {std::move(text), std::move(at.host)};
}

}  // namespace

CheckScheduler::CheckScheduler(const base::Clock& clock, base::Rng& rng, CheckStore& store,
                               MakeProber make_prober, SchedulerOptions options)
    : clock_(clock),
      rng_(rng),
      store_(store),
      make_prober_(std::move(make_prober)),
      options_(std::move(options)),
      slots_(std::max<size_t>(options_.max_probes, 1)),
      last_poll_(clock.Steady()),
      self_(std::make_shared<CheckScheduler*>(this)) {}

CheckScheduler::~CheckScheduler() {
  // Sessions give their places back, here.
  polling_ = true;
  while (!entries_.empty()) Drop(entries_.begin()->first);
}

CheckScheduler::Entry* CheckScheduler::Find(uint64_t session) {
  const auto it = entries_.find(session);
  return it == entries_.end() ? nullptr : &it->second;
}

void CheckScheduler::Drop(uint64_t session) {
  const auto it = entries_.find(session);
  if (it == entries_.end()) return;
  Entry entry = std::move(it->second);
  entries_.erase(it);
  entry.session.reset();
  const auto zone = zones_.find(entry.zone);
  if (--zone->second.checks == 0) zones_.erase(zone);
}

uint64_t CheckScheduler::Add(const Followed& instance, const Definition& definition, bool fresh) {
  const uint64_t id = ++last_id_;
  std::unique_ptr<Prober> prober;
  std::string problem;
  if (!definition.check.has_ttl()) {
    auto made = make_prober_(definition.check, instance.address, instance.port);
    if (made.ok()) {
      prober = *std::move(made);
    } else {
      problem = std::string(made.status().message());
    }
  }
  Entry entry;
  entry.zone = instance.zone;
  ++zones_[instance.zone].checks;
  entry.session = std::make_unique<CheckSession>(
      id, instance, definition.check, AimOf(definition.check, instance),
      definition.has_result ? &definition.result : nullptr, std::move(prober), std::move(problem),
      *this);
  CheckSession& session = *entry.session;
  entries_.emplace(id, std::move(entry));
  session.Begin(fresh);
  return id;
}

void CheckScheduler::Set(const Followed& instance, std::vector<Definition> checks, bool fresh) {
  NoticeGap();
  const auto it = instances_.find(instance.key);
  Sessions before = it == instances_.end() ? Sessions() : std::move(it->second);
  Sessions after;
  for (const Definition& one : checks) {
    if (!one.check.has_ttl() && options_.max_probes == 0) continue;
    const std::string target = AimOf(one.check, instance).target;
    const auto same = std::find_if(before.begin(), before.end(), [&](uint64_t id) {
      const Entry* entry = Find(id);
      return entry != nullptr && entry->zone == instance.zone &&
             entry->session->Is(one.check, target);
    });
    if (same == before.end()) {
      after.push_back(Add(instance, one, fresh || !one.has_result));
      continue;
    }
    Find(*same)->session->Continue(instance);
    after.push_back(*same);
    before.erase(same);
  }
  for (const uint64_t id : before) Drop(id);
  if (after.empty()) {
    instances_.erase(instance.key);
  } else {
    instances_[instance.key] = std::move(after);
  }
}

void CheckScheduler::Remove(std::string_view instance_key) {
  const auto it = instances_.find(base::Av(instance_key));
  if (it == instances_.end()) return;
  const Sessions sessions = std::move(it->second);
  instances_.erase(it);
  for (const uint64_t id : sessions) Drop(id);
}

void CheckScheduler::Reported(std::string_view instance_key, std::string_view check_id) {
  NoticeGap();
  const auto it = instances_.find(base::Av(instance_key));
  if (it == instances_.end()) return;
  // Of several, one has to be named.
  if (check_id.empty() && it->second.size() != 1) return;
  for (const uint64_t id : it->second) {
    CheckSession& session = *Find(id)->session;
    if (session.is_ttl() && (check_id.empty() || session.check_id() == check_id)) {
      session.Reported();
    }
  }
}

void CheckScheduler::NoticeGap() {
  const base::SteadyTime now = clock_.Steady();
  const absl::Duration passed = now - last_poll_;
  last_poll_ = now;
  if (passed <= kGap) return;
  gaps_ += passed - kLookEvery;
  last_gap_ = now;
}

base::SteadyTime CheckScheduler::Poll() {
  NoticeGap();
  polling_ = true;
  const base::SteadyTime now = clock_.Steady();
  while (!wakes_.empty() && wakes_.top().at <= now) {
    const Wake wake = wakes_.top();
    wakes_.pop();
    Entry* const entry = Find(wake.session);
    // An earlier one took its place.
    if (entry == nullptr || entry->wake_at != wake.at) continue;
    entry->wake_at = {};
    entry->session->Wake();
  }
  RunWaiting();
  polling_ = false;
  const base::SteadyTime look = now + kLookEvery;
  next_poll_ = wakes_.empty() ? look : std::min(look, wakes_.top().at);
  return next_poll_;
}

void CheckScheduler::RunWaiting() {
  while (const auto id = slots_.Next()) {
    if (Entry* const entry = Find(*id)) {
      entry->session->Run();
    } else {
      slots_.Leave(*id);
    }
  }
}

SchedulerCounts CheckScheduler::counts() const {
  return {entries_.size(), slots_.taken(), slots_.waiting(), wakes_.size()};
}

void CheckScheduler::WakeAt(uint64_t session, base::SteadyTime at) {
  Entry* const entry = Find(session);
  if (entry == nullptr || (entry->wake_at.us != 0 && entry->wake_at <= at)) return;
  entry->wake_at = at;
  wakes_.push({at, session});
  if (wakes_.size() > 2 * entries_.size() + kOldWakes) ForgetOldWakes();
  if (!polling_ && at < next_poll_) options_.nudge();
}

// Those of sessions that have ended, or that an earlier one took the place of.
void CheckScheduler::ForgetOldWakes() {
  std::vector<Wake> wakes;
  for (const auto& [session, entry] : entries_) {
    if (entry.wake_at.us != 0) wakes.push_back({entry.wake_at, session});
  }
  wakes_ = decltype(wakes_)(std::greater<>(), std::move(wakes));
}

void CheckScheduler::AskSlot(uint64_t session, const std::string& host, ProbeSlots::Lane lane) {
  slots_.Ask(session, host, lane);
}

void CheckScheduler::LeaveSlot(uint64_t session) {
  slots_.Leave(session);
  if (!polling_ && slots_.waiting() > 0) options_.nudge();
}

void CheckScheduler::Propose(uint64_t session, core::CheckOutcome outcome) {
  store_.SetOutcome(std::move(outcome),
                    [self = std::weak_ptr<CheckScheduler*>(self_), session](absl::Status status) {
                      const auto alive = self.lock();
                      if (alive == nullptr) return;
                      Entry* const entry = (*alive)->Find(session);
                      if (entry != nullptr) entry->session->Proposed(status);
                    });
}

void CheckScheduler::CountUnreachable(const std::string& zone, int change) {
  zones_[zone].unreachable += change;
}

bool CheckScheduler::MayBeCutOff(const std::string& zone) const {
  const auto it = zones_.find(zone);
  if (it == zones_.end() || it->second.checks < static_cast<int64_t>(options_.cut_off_least)) {
    return false;
  }
  return static_cast<double>(it->second.unreachable) >
         options_.cut_off_share * static_cast<double>(it->second.checks);
}

void CheckScheduler::TellHeld(const std::string& zone) {
  Zone& at = zones_[zone];
  const base::SteadyTime now = clock_.Steady();
  if (at.told_held.us != 0 && now < at.told_held + kTellEvery) return;
  at.told_held = now;
  base::Log(base::LogLevel::kWarn,
            "instances that can't be reached stay for a minute more: too many at once",
            {{"zone", zone},
             {"unreachable_checks", absl::StrCat(at.unreachable)},
             {"checks", absl::StrCat(at.checks)}});
}

void CheckScheduler::Deregister(const std::string& instance_key, uint64_t incarnation,
                                const std::string& why) {
  const auto names = storage::DecodeInstanceKey(instance_key);
  if (names) {
    base::Log(
        base::LogLevel::kInfo, "deregistering an instance that can't be reached",
        {{"service", std::string(names->service)}, {"id", std::string(names->id)}, {"why", why}});
  }
  store_.Deregister(instance_key, incarnation);
}

}  // namespace muster::health

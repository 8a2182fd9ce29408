// History's requests: what fake services ask for, and what they must be told.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/errors.h"
#include "tests/simulation/history.h"

namespace muster::simulation {
namespace {

using Outcome = v1::HeartbeatResponse::Outcome;

constexpr int64_t kSecondUs = 1'000'000;
constexpr int64_t kDefaultTtlUs = 30 * kSecondUs;

std::string ReasonOf(const absl::Status& status) {
  if (status.ok()) return "";
  const auto reason = base::ReasonOf(status);
  return reason ? std::string(base::ReasonName(*reason)) : std::string(status.message());
}

Answer AnswerOf(const absl::StatusOr<core::Registered>& response) {
  if (!response.ok()) return {.reason = ReasonOf(response.status())};
  return {.reason = "",
          .incarnation = response->incarnation,
          .changed = response->changed,
          .seq = response->revision.seq};
}

v1::InstanceKey ProtoOf(const storage::InstanceKey& key) {
  v1::InstanceKey out;
  out.set_namespace_(key.ns);
  out.set_service(key.service);
  out.set_node(key.node);
  out.set_id(key.id);
  return out;
}

v1::RegisterRequest RequestOf(const Call& call) {
  v1::RegisterRequest out;
  *out.mutable_instance() = InstanceOf(call.key, call.display, call.content);
  out.set_life_id(call.life);
  out.set_permanent(call.ttl_us == 0);
  if (call.ttl_us != 0 && call.ttl_us != kDefaultTtlUs) {
    out.mutable_ttl()->set_seconds(call.ttl_us / kSecondUs);
  }
  *out.mutable_precondition() = call.precondition;
  return out;
}

std::string NameOf(const storage::InstanceKey& key) {
  return absl::StrCat(key.ns, "/", key.service, "/", key.node, "/", key.id);
}

std::string Described(const Call& call) {
  return absl::StrCat("register ", NameOf(call.key), " content ", call.content.variant, ".",
                      call.content.checks, " ttl ", call.ttl_us / kSecondUs, "s life \"", call.life,
                      "\" {", call.precondition.ShortDebugString(), "}");
}

std::string LifeNumber(int number) { return absl::StrFormat("life%012d", number); }

}  // namespace

storage::InstanceKey History::AnyKey() {
  static constexpr const char* kNames[] = {"api", "api", "api", "api-b", "web"};
  static constexpr const char* kIds[] = {"a", "b", "c", "d", "e"};
  storage::InstanceKey key;
  key.ns = rng_.Uniform(5) == 0 ? "prod" : "default";
  key.service = key.ns == "prod" ? "api" : kNames[rng_.Uniform(5)];
  key.node = rng_.Uniform(3) == 0 ? "n1" : "";
  key.id = big_ && rng_.Uniform(2) == 0 ? absl::StrCat(rng_.Uniform(400)) : kIds[rng_.Uniform(5)];
  return key;
}

// More often one that is there.
storage::InstanceKey History::AnyKnownKey() {
  const size_t count = model_.instance_count();
  if (count == 0 || rng_.Uniform(4) == 0) return AnyKey();
  size_t skip = rng_.Uniform(count);
  for (const auto& [service_key, service] : model_.services()) {
    for (const auto& [name, instance] : service.instances) {
      if (skip-- == 0) return {service.ns, service.name, name.first, name.second};
    }
  }
  return AnyKey();
}

Call History::AnyRegistration() {
  Call call;
  call.key = rng_.Uniform(2) == 0 ? AnyKey() : AnyKnownKey();
  Owner& owner = owners_[storage::EncodeInstanceKey(call.key)];
  const uint64_t dice = rng_.Uniform(20);
  if (owner.last && dice < 6) return *owner.last;  // its answer was lost, or it starts in a loop
  call.display = rng_.Uniform(4) == 0 ? "API" : call.key.service;
  if (call.display == "API" && call.key.service != "api") call.display = call.key.service;
  call.content = {static_cast<int>(rng_.Uniform(kVariants)),
                  static_cast<int>(rng_.Uniform(kCheckVariants))};
  const int64_t ttls[] = {0, 1, 2, 5, 30, 30, 30, 600};
  call.ttl_us = kSecondUs * ttls[rng_.Uniform(8)];
  if (owner.last && dice < 10) {
    call.ttl_us = owner.last->ttl_us;
    if (dice < 8) call.content.variant = owner.last->content.variant;
  }
  if (dice < 15) {
    if (owner.lives == 0 || dice >= 11) ++owner.lives;
    call.life = LifeNumber(owner.lives);
  } else if (dice < 18) {
    call.life = LifeNumber(static_cast<int>(rng_.Uniform(static_cast<uint64_t>(owner.lives) + 1)));
  }
  if (dice == 19 || rng_.Uniform(12) == 0) SometimesCondition(call);
  owner.last = call;
  return call;
}

void History::SometimesCondition(Call& call) {
  if (rng_.Uniform(2) == 0) {
    call.precondition.set_must_be_new(true);
  } else {
    call.precondition.set_must_replace_incarnation(AnyIncarnation(call.key));
  }
}

uint64_t History::AnyIncarnation(const storage::InstanceKey& key) {
  const auto& known = owners_[storage::EncodeInstanceKey(key)].incarnations;
  const Instance* present = model_.Find(key);
  const uint64_t dice = rng_.Uniform(10);
  if (dice < 5 && present != nullptr) return present->incarnation;
  if (dice < 9 && !known.empty()) return known[rng_.Uniform(known.size())];
  return model_.seq() + 1000;
}

History::Pending* History::Submit(Call call) {
  pending_.push_back({.call = std::move(call)});
  return &pending_.back();
}

// While the outcome of an instance's last write is unknown, nothing certain may be said of it.
std::string History::CheckCertain(const Call& call) const {
  if (!frozen_ || !uncertain_.contains(storage::EncodeInstanceKey(call.key))) return "";
  const std::string& reason = call.answer->reason;
  if (reason == "STORAGE_READ_ONLY" || reason == "OUTCOME_UNKNOWN") return "";
  return absl::StrCat("a call on ", NameOf(call.key), ", whose last write has an unknown outcome, ",
                      "was answered ", reason.empty() ? "OK" : reason);
}

std::string History::AfterCall(const std::vector<Pending*>& calls) {
  for (const Pending* pending : calls) {
    if (!pending->answered) return "";
  }
  std::vector<Call> answered;
  for (const Pending* pending : calls) {
    if (auto wrong = CheckCertain(pending->call); !wrong.empty()) return wrong;
    answered.push_back(pending->call);
    pending_.remove_if([&](const Pending& p) { return &p == pending; });
  }
  if (!log_.empty()) return "a commit outside of the store's thread";
  for (const Call& call : answered) {
    if (call.answer->reason == "STORAGE_READ_ONLY" && frozen_) continue;
    // New instances that are on their way count.
    const uint64_t max = server_options_.registry.max_instances;
    const size_t count = model_.instance_count();
    const Room room = count >= max                     ? Room::kFull
                      : count + pending_.size() >= max ? Room::kMaybeFull
                                                       : Room::kFree;
    const std::string wrong = model_.Take({}, {}, {call}, {}, /*heard=*/true, room);
    if (!wrong.empty()) return "answered at once: " + wrong;
    Remember(call);
  }
  return "";
}

std::string History::Register() {
  Pending* pending = Submit(AnyRegistration());
  Say(Described(pending->call));
  server_->registry.Register(RequestOf(pending->call), {}, [pending](const auto& response) {
    pending->call.answer = AnswerOf(response);
    pending->answered = true;
  });
  return AfterCall({pending});
}

std::string History::Batch() {
  const uint64_t count = 1 + rng_.Uniform(big_ ? 100 : 6);
  std::vector<Pending*> items;
  v1::BatchRegisterRequest request;
  for (uint64_t i = 0; i < count; ++i) {
    items.push_back(Submit(AnyRegistration()));
    Say("batch: " + Described(items.back()->call));
    *request.add_requests() = RequestOf(items.back()->call);
  }
  server_->registry.BatchRegister(request, {}, [items](const auto& results) {
    for (size_t i = 0; i < items.size(); ++i) {
      items[i]->call.answer = AnswerOf(results[i]);
      items[i]->answered = true;
    }
  });
  if (std::string wrong = AfterCall(items); !wrong.empty()) return wrong;
  // Some items were judged at once: their time is now.
  return RunStore();
}

std::string History::Deregister() {
  Call call;
  call.kind = Call::Kind::kDeregister;
  call.key = AnyKnownKey();
  call.incarnation = rng_.Uniform(3) == 0 ? 0 : AnyIncarnation(call.key);
  Say(absl::StrCat("deregister ", NameOf(call.key), " incarnation ", call.incarnation));
  v1::DeregisterRequest request;
  *request.mutable_key() = ProtoOf(call.key);
  request.set_incarnation(options_.sabotage == Sabotage::kNoFencing ? 0 : call.incarnation);
  Pending* pending = Submit(std::move(call));
  server_->registry.Deregister(request, [pending](const auto& response) {
    pending->call.answer = Answer{.reason = ReasonOf(response.status())};
    if (response.ok()) pending->call.answer->seq = response->revision().seq();
    pending->answered = true;
  });
  return AfterCall({pending});
}

std::string History::Report() {
  static constexpr const char* kChecks[] = {"c1", "c1", "c2", "", "zz"};
  Call call;
  call.kind = Call::Kind::kReport;
  call.key = AnyKnownKey();
  call.incarnation = rng_.Uniform(3) == 0 ? AnyIncarnation(call.key) : 0;
  call.check_id = kChecks[rng_.Uniform(5)];
  call.status = static_cast<v1::Health>(1 + rng_.Uniform(3));
  // Of the status alone: when a new output without a new status is written is a matter of time.
  call.output = call.status == v1::WARNING ? "slow" : "";
  Say(absl::StrCat("report ", NameOf(call.key), " incarnation ", call.incarnation, " check \"",
                   call.check_id, "\" ", v1::Health_Name(call.status), " ", call.output));
  v1::ReportHealthRequest request;
  *request.mutable_key() = ProtoOf(call.key);
  request.set_incarnation(call.incarnation);
  request.set_check_id(call.check_id);
  request.set_status(call.status);
  request.set_output(call.output);
  Pending* pending = Submit(std::move(call));
  server_->registry.ReportHealth(request, [pending](const auto& response) {
    pending->call.answer = Answer{.reason = ReasonOf(response.status())};
    if (response.ok()) pending->call.answer->changed = response->changed();
    pending->answered = true;
  });
  return AfterCall({pending});
}

Outcome History::Beat(Instance* instance, uint64_t incarnation) {
  if (!loaded_) return v1::HeartbeatResponse::LOADING;
  if (instance == nullptr) return v1::HeartbeatResponse::UNKNOWN;
  if (incarnation != 0 && incarnation < instance->incarnation) return v1::HeartbeatResponse::STALE;
  if (incarnation > instance->incarnation || instance->expiring) {
    return v1::HeartbeatResponse::UNKNOWN;
  }
  const int64_t due = model_.LeaseNow() + instance->ttl_us;
  instance->due = {true, due, due, std::max(instance->due.filed_at, instance->due.to)};
  return v1::HeartbeatResponse::RENEWED;
}

Outcome History::BeatHandle(uint64_t handle) {
  if (!loaded_) return v1::HeartbeatResponse::LOADING;
  for (const auto& [service_key, service] : model_.services()) {
    for (const auto& [name, instance] : service.instances) {
      const storage::InstanceKey key{service.ns, service.name, name.first, name.second};
      if (instance.incarnation == handle) return Beat(model_.Find(key), handle);
      for (const auto& [life, incarnation] : instance.superseded) {
        if (incarnation == handle) return v1::HeartbeatResponse::STALE;
      }
    }
  }
  return v1::HeartbeatResponse::UNKNOWN;
}

std::string History::Heartbeat() {
  v1::HeartbeatRequest request;
  std::vector<storage::InstanceKey> keys;
  for (uint64_t i = rng_.Uniform(6); i > 0; --i) {
    request.add_lease_handles(AnyIncarnation(AnyKnownKey()));
  }
  for (uint64_t i = 1 + rng_.Uniform(6); i > 0; --i) {
    keys.push_back(AnyKnownKey());
    auto* lease = request.add_leases();
    *lease->mutable_key() = ProtoOf(keys.back());
    lease->set_incarnation(rng_.Uniform(3) == 0 ? 0 : AnyIncarnation(keys.back()));
  }
  Say("heartbeat " + request.ShortDebugString());
  const auto response = server_->registry.Heartbeat(request);
  if (!response.ok()) return std::string(response.status().message());
  std::vector<Outcome> want;
  for (const uint64_t handle : request.lease_handles()) want.push_back(BeatHandle(handle));
  for (size_t i = 0; i < keys.size(); ++i) {
    want.push_back(Beat(model_.Find(keys[i]), request.leases(static_cast<int>(i)).incarnation()));
  }
  for (size_t i = 0; i < want.size(); ++i) {
    const Outcome have = response->outcomes(static_cast<int>(i));
    ++tally_["heartbeats " + v1::HeartbeatResponse::Outcome_Name(have)];
    if (have == want[i]) continue;
    return absl::StrCat("heartbeat ", i, " was answered ",
                        v1::HeartbeatResponse::Outcome_Name(have), ", not ",
                        v1::HeartbeatResponse::Outcome_Name(want[i]));
  }
  return "";
}

}  // namespace muster::simulation

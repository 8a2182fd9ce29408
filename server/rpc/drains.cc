#include "server/rpc/drains.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "server/core/field_rules.h"
#include "server/rpc/watch_session.h"

namespace muster::rpc {
namespace {

constexpr absl::Duration kDefaultDeadline = absl::Seconds(10);
constexpr absl::Duration kMaxDeadline = absl::Minutes(10);
// Those who can't confirm are given so long to hear of it.
constexpr absl::Duration kUnacknowledged = absl::Seconds(10);
// Shares are given as text by people: of ten, 0.7 is seven.
constexpr double kRounding = 1e-9;

}  // namespace

absl::StatusOr<DrainTerms> ReadTerms(const v1::DrainRequest& request) {
  DrainTerms terms{.deadline = kDefaultDeadline};
  if (request.has_deadline()) {
    absl::Status status = core::CheckDuration({"", "deadline"}, request.deadline(),
                                              absl::ZeroDuration(), kMaxDeadline);
    if (!status.ok()) return status;
    terms.deadline = core::FromProto(request.deadline());
  }
  if (request.has_min_acked()) {
    terms.min_acked = request.min_acked();
    // Also what is no number.
    if (!(terms.min_acked >= 0 && terms.min_acked <= 1)) {
      return core::FieldError({"", "min_acked"},
                              absl::StrCat("is ", terms.min_acked, "; allowed: 0 to 1"));
    }
  }
  return terms;
}

struct Drains::Waiting {
  explicit Waiting(Drain the_drain) : drain(std::move(the_drain)) {}

  bool Counts(const Subscription& s) {
    if (s.since >= drain.seq) return false;
    if (!s.selector->has_definition_part()) return true;
    const auto [known, is_new] = matches.try_emplace(s.selector, false);
    if (is_new) known->second = s.selector->MatchesDefinition(drain.endpoint);
    return known->second;
  }
  bool IsDone(base::SteadyTime now) const {
    if (now >= until) return true;
    if (not_acking > 0 && now < unacknowledged_until) return false;
    const double needed = drain.terms.min_acked * static_cast<double>(eligible);
    return static_cast<double>(acked) + kRounding >= needed;
  }
  v1::DrainResponse Answer() const {
    v1::DrainResponse response;
    response.set_eligible(eligible);
    response.set_acked(acked);
    if (not_acking > 0) {
      v1::DrainResponse::NotAcking& others = *response.add_not_acking();
      others.set_face("grpc");
      others.set_count(not_acking);
    }
    response.mutable_revision()->set_epoch(drain.revision.epoch);
    response.mutable_revision()->set_seq(drain.revision.seq);
    return response;
  }

  Id id = 0;
  Drain drain;
  base::SteadyTime until{};
  base::SteadyTime unacknowledged_until{};
  uint64_t eligible = 0;
  uint64_t acked = 0;
  uint64_t not_acking = 0;
  // Of selectors that look at what an instance declares.
  absl::flat_hash_map<std::shared_ptr<const core::Selector>, bool> matches;
};

Drains::Drains() = default;
Drains::~Drains() = default;

void Drains::Expected(const std::string& service_key) {
  const auto found = expected_.find(service_key);
  if (--found->second == 0) expected_.erase(found);
}

Drains::Id Drains::Begin(Drain drain, const std::vector<Subscription*>& subscriptions,
                         base::SteadyTime now, std::vector<Subscription*>* asked) {
  now_ = now;
  auto waiting = std::make_unique<Waiting>(std::move(drain));
  waiting->until = now + waiting->drain.terms.deadline;
  waiting->unacknowledged_until = now + kUnacknowledged;
  for (Subscription* s : subscriptions) {
    if (!waiting->Counts(*s)) continue;
    if (!s->acks) {
      ++waiting->not_acking;
      continue;
    }
    ++waiting->eligible;
    if (s->acked >= waiting->drain.seq) {
      ++waiting->acked;
    } else if (s->asked < waiting->drain.seq) {
      asked->push_back(s);
    }
  }
  if (!ended_.ok() || waiting->IsDone(now)) {
    asked->clear();
    Finish(*waiting, ended_);
    return 0;
  }
  for (Subscription* s : *asked) s->owes = true;
  const Id id = waiting->id = ++last_id_;
  by_service_[waiting->drain.service_key].push_back(waiting.get());
  by_id_[id] = std::move(waiting);
  return id;
}

template <typename Change>
void Drains::ForEachThatCounts(const Subscription& subscription, const Change& change) {
  if (by_service_.empty()) return;
  const auto found = by_service_.find(subscription.service->key);
  if (found == by_service_.end()) return;
  std::vector<Id> changed;
  for (Waiting* waiting : found->second) {
    if (!waiting->Counts(subscription)) continue;
    change(*waiting);
    changed.push_back(waiting->id);
  }
  FinishIfDone(changed);
}

bool Drains::Resumed(const Subscription& subscription) {
  bool counts = false;
  ForEachThatCounts(subscription, [&](Waiting& waiting) {
    counts = true;
    ++(subscription.acks ? waiting.eligible : waiting.not_acking);
  });
  return counts && subscription.acks;
}

void Drains::Acked(const Subscription& subscription, uint64_t before) {
  ForEachThatCounts(subscription, [&](Waiting& waiting) {
    const uint64_t seq = waiting.drain.seq;
    if (before < seq && seq <= subscription.acked) ++waiting.acked;
  });
}

void Drains::Ended(const Subscription& subscription) {
  ForEachThatCounts(subscription, [&](Waiting& waiting) {
    if (!subscription.acks) {
      --waiting.not_acking;
      return;
    }
    --waiting.eligible;
    if (subscription.acked >= waiting.drain.seq) --waiting.acked;
  });
}

void Drains::FinishIfDone(const std::vector<Id>& ids) {
  for (const Id id : ids) {
    if (by_id_.at(id)->IsDone(now_)) End(id, absl::OkStatus());
  }
}

void Drains::End(Id id, const absl::Status& status) {
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return;
  const std::unique_ptr<Waiting> waiting = std::move(found->second);
  by_id_.erase(found);
  const auto others = by_service_.find(waiting->drain.service_key);
  std::erase(others->second, waiting.get());
  if (others->second.empty()) by_service_.erase(others);
  Finish(*waiting, status);
}

void Drains::EndAll(const absl::Status& status) {
  ended_ = status;
  std::vector<Id> ids;
  for (const auto& [id, waiting] : by_id_) ids.push_back(id);
  for (const Id id : ids) End(id, status);
}

void Drains::Tick(base::SteadyTime now) {
  now_ = now;
  std::vector<Id> ids;
  for (const auto& [id, waiting] : by_id_) ids.push_back(id);
  FinishIfDone(ids);
}

void Drains::Finish(Waiting& waiting, const absl::Status& status) {
  if (!status.ok()) return waiting.drain.done(status);
  waiting.drain.done(waiting.Answer());
}

}  // namespace muster::rpc

#include "client/followed_service.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace muster::client {
namespace {

EndpointPtr WithPort(const Endpoint& endpoint, uint16_t port) {
  auto changed = std::make_shared<Endpoint>(endpoint);
  changed->address.port = port;
  return changed;
}

}  // namespace

EndpointList Select(const Query& query, const EndpointList& endpoints) {
  if (query.region.empty() && query.zone.empty() && query.port_name.empty()) return endpoints;
  EndpointList selected;
  for (const EndpointPtr& endpoint : endpoints) {
    if (!query.region.empty() && endpoint->region != query.region) continue;
    if (!query.zone.empty() && endpoint->zone != query.zone) continue;
    if (query.port_name.empty()) {
      selected.push_back(endpoint);
      continue;
    }
    const auto port = endpoint->named_ports.find(query.port_name);
    if (port != endpoint->named_ports.end()) {
      selected.push_back(WithPort(*endpoint, port->second));
    }
  }
  return selected;
}

Resolution FollowedService::AnswerAt(base::SteadyTime now) const {
  Resolution answer{.endpoints = endpoints_, .source = labels_.live, .empty = empty_};
  if (confirmed_) {
    answer.source = primed_ ? Resolution::Source::kSnapshot : labels_.lost;
    // Whoever asks may have looked at the clock before it was lost.
    answer.age = std::max(now - *confirmed_, absl::ZeroDuration());
  }
  return answer;
}

void FollowedService::Prime(std::shared_ptr<const EndpointList> endpoints,
                            base::SteadyTime confirmed) {
  base::MutexLock lock(mu_);
  endpoints_ = std::move(endpoints);
  confirmed_ = confirmed;
  primed_ = true;
}

bool FollowedService::refused() const {
  base::MutexLock lock(mu_);
  return !refused_.ok();
}

bool FollowedService::is_current() const {
  base::MutexLock lock(mu_);
  return endpoints_ != nullptr && !confirmed_ && !doubt_ && !refill_;
}

void FollowedService::WaitForRegistry(absl::Duration within, const base::Clock& clock) const {
  const base::SteadyTime end = clock.Steady() + within;
  base::MutexLock lock(mu_);
  while (primed_ && !doubt_ && !lost_ && refused_.ok()) {
    const absl::Duration left = end - clock.Steady();
    if (left <= absl::ZeroDuration()) return;
    known_.WaitFor(mu_, left);
  }
}

std::optional<Resolution> FollowedService::Answer(base::SteadyTime now) const {
  base::MutexLock lock(mu_);
  if (endpoints_ == nullptr) return std::nullopt;
  return AnswerAt(now);
}

absl::StatusOr<Resolution> FollowedService::Wait(absl::Duration within, const base::Clock& clock,
                                                 bool until_lost) const {
  const base::SteadyTime end = clock.Steady() + within;
  base::MutexLock lock(mu_);
  while (endpoints_ == nullptr) {
    if (!refused_.ok()) return refused_;
    const absl::Duration left = end - clock.Steady();
    if (left <= absl::ZeroDuration() || (until_lost && lost_)) {
      return absl::DeadlineExceededError("nothing came");
    }
    known_.WaitFor(mu_, left);
  }
  return AnswerAt(clock.Steady());
}

bool FollowedService::Take(EndpointList endpoints, Resolution::Empty why, base::SteadyTime now,
                           absl::Duration keep_last, std::optional<base::SteadyTime>* settle_at,
                           bool new_store) {
  base::MutexLock lock(mu_);
  refused_ = absl::OkStatus();
  lost_ = false;
  known_.NotifyAll();
  const bool had_some = endpoints_ != nullptr && !endpoints_->empty();
  const bool keeps = had_some && keep_last > absl::ZeroDuration();
  if (new_store && keeps) {
    doubt_.reset();
    refill_ = Refill{endpoints_, nullptr, why, now + keep_last};
    *settle_at = refill_->until;
  }
  if (refill_ && refill_->until > now && TakeWhileItRefills(endpoints, why, now)) return true;
  refill_.reset();
  if (had_some && !confirmed_ && !doubt_ && *endpoints_ == endpoints) return false;
  if (endpoints.empty() && keeps) {
    if (doubt_) {
      doubt_->empty = why;  // it has been empty since
      return false;
    }
    doubt_ = Doubt{why, now + keep_last};
    *settle_at = doubt_->until;
    if (confirmed_) return false;
    confirmed_ = now;
    return true;
  }
  Believe(std::make_shared<const EndpointList>(std::move(endpoints)), why);
  return true;
}

bool FollowedService::TakeWhileItRefills(EndpointList endpoints, Resolution::Empty why,
                                         base::SteadyTime now) {
  const auto key = [](const EndpointPtr& one) { return std::tie(one->node, one->id); };
  const auto comes_first = [&](const EndpointPtr& a, const EndpointPtr& b) {
    return key(a) < key(b);
  };
  // In the order of answers.
  std::sort(endpoints.begin(), endpoints.end(), comes_first);
  EndpointList all = endpoints;
  for (const EndpointPtr& one : *refill_->before) {
    if (!std::binary_search(endpoints.begin(), endpoints.end(), one, comes_first)) {
      all.push_back(one);
    }
  }
  if (all.size() == endpoints.size()) return false;
  std::sort(all.begin(), all.end(), comes_first);
  refill_->has = std::make_shared<const EndpointList>(std::move(endpoints));
  refill_->empty = why;
  refill_->lost = false;
  endpoints_ = std::make_shared<const EndpointList>(std::move(all));
  if (!confirmed_) confirmed_ = now;
  return true;
}

void FollowedService::Believe(std::shared_ptr<const EndpointList> endpoints,
                              Resolution::Empty why) {
  doubt_.reset();
  refill_.reset();
  confirmed_.reset();
  primed_ = false;
  empty_ = endpoints->empty() ? why : Resolution::Empty::kNot;
  endpoints_ = std::move(endpoints);
}

bool FollowedService::Settle(base::SteadyTime now) {
  base::MutexLock lock(mu_);
  if (refill_ && refill_->until <= now && !refill_->lost) {
    Believe(refill_->has, refill_->empty);
    return true;
  }
  if (!doubt_ || doubt_->until > now) return false;
  Believe(std::make_shared<const EndpointList>(), doubt_->empty);
  return true;
}

bool FollowedService::LoseNow(base::SteadyTime confirmed, bool can_ask) {
  // An answer that nobody confirms doesn't become more believable.
  doubt_.reset();
  if (refill_) refill_->lost = true;
  lost_ |= !can_ask;
  known_.NotifyAll();
  if (endpoints_ == nullptr || confirmed_) return false;
  confirmed_ = confirmed;
  return true;
}

bool FollowedService::Lose(base::SteadyTime confirmed, bool can_ask) {
  base::MutexLock lock(mu_);
  return LoseNow(confirmed, can_ask);
}

bool FollowedService::Refuse(absl::Status why, base::SteadyTime now) {
  base::MutexLock lock(mu_);
  // Both at once: whoever waits is told of the refusal, and not of a mere loss.
  refused_ = std::move(why);
  return LoseNow(now, false);
}

}  // namespace muster::client

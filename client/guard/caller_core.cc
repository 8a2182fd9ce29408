#include "client/guard/caller_core.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "base/log.h"
#include "base/net_address.h"
#include "base/text.h"

namespace muster::client {
namespace {

// How many endpoints are looked at for one whose connection is ready.
constexpr int kLooks = 4;

bool IsFailure(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kDataLoss:
      return true;
    default:
      return false;
  }
}

std::string AddressOf(const Endpoint& endpoint) {
  return base::FormatHostPort({endpoint.address.host, endpoint.address.port});
}

}  // namespace

CallerCore::CallerCore(CallerOptions options, Parts parts)
    : options_(std::move(options)),
      parts_(std::move(parts)),
      budget_(options_.retry_budget),
      breaker_(options_.service_breaker) {}

absl::Status CallerCore::Call(const std::string_view* key, const Caller::Function& function,
                              Idempotent idempotent) {
  const base::SteadyTime began = parts_.clock.Steady();
  budget_.Called();
  Made made;
  absl::Status status = Try(key, function, idempotent, began, &made);
  CallEnded(made, status, began);
  return status;
}

absl::Status CallerCore::Try(const std::string_view* key, const Caller::Function& function,
                             Idempotent idempotent, base::SteadyTime began, Made* made) {
  std::unique_ptr<RetryPolicy> retry;
  std::unique_ptr<BackoffPolicy> backoff;
  base::SystemRng rng;
  absl::Status status;
  for (;;) {
    if (auto refused = Refused()) {
      // What an attempt said is worth more.
      if (made->attempts > 0) return status;
      return options_.fallback ? options_.fallback(*refused) : *std::move(refused);
    }
    bool has_failed = false;
    status = TryOnce(key, function, made, &has_failed);
    if (!has_failed || idempotent == Idempotent::kNo) return status;
    if (retry == nullptr) retry = options_.retry->clone();
    if (!retry->MayRetry(status, parts_.clock.Steady() - began) || !budget_.Take()) return status;
    if (backoff == nullptr) backoff = options_.backoff->clone();
    parts_.pause(backoff->Next(rng.Unit()));
  }
}

std::optional<absl::Status> CallerCore::Refused() {
  BreakerState state;
  {
    base::MutexLock lock(mu_);
    const BreakerState before = breaker_.state();
    const base::SteadyTime now = parts_.clock.Steady();
    // Those that have come since aren't those that failed.
    const uint64_t arrivals = parts_.balancer->arrivals();
    if (before == BreakerState::kOpen && std::exchange(arrivals_, arrivals) != arrivals) {
      breaker_.ProbeNow(now);
    }
    if (!breaker_.Allow(now)) {
      return absl::UnavailableError(absl::StrCat(
          "calls of ", base::Quoted(parts_.service), " are not made for another ",
          base::FormatDuration(absl::Trunc(breaker_.until() - now, absl::Milliseconds(1))), ": ",
          breaker_.failed(), " of ", breaker_.calls(), " failed"));
    }
    state = breaker_.state();
    if (state == before) return std::nullopt;
  }
  Tell("", state);
  return std::nullopt;
}

absl::Status CallerCore::TryOnce(const std::string_view* key, const Caller::Function& function,
                                 Made* made, bool* has_failed) {
  Pick pick = ChooseFor(key, made->tried);
  if (!pick) {
    // Nobody failed. But a breaker that waits for its probe has to hear of something.
    Record(true);
    return parts_.balancer->status();
  }
  ++made->attempts;
  made->last = AddressOf(*pick);
  const base::SteadyTime began = parts_.clock.Steady();
  absl::Status status = function({*pick, options_.timeout, made->attempts});
  const absl::Duration took = parts_.clock.Steady() - began;
  if (status.ok() && took > options_.timeout) {
    status = absl::DeadlineExceededError(
        absl::StrCat(made->last, " answered after ",
                     base::FormatDuration(absl::Trunc(took, absl::Milliseconds(1)))));
  }
  *has_failed = AttemptEnded(pick, made->last, made->attempts, status, took);
  made->tried.push_back(BalancerCore::EndpointOf(pick));
  pick.Done();
  return status;
}

Pick CallerCore::ChooseFor(const std::string_view* key, const EndpointList& tried) {
  BalancerCore& balancer = *parts_.balancer;
  // A retry goes to somebody else.
  Pick pick = !tried.empty() ? balancer.NextBut(tried, true)
                             : (key == nullptr ? balancer.Next() : balancer.Next(*key));
  if (!parts_.reach || !pick) return pick;
  // A key is worth waiting for a connection.
  const bool hashes = options_.balance.policy == Policy::kConsistentHash;
  EndpointList passed = tried;
  Pick best;
  Reach best_reach = Reach::kFailing;
  for (int i = 0; i < kLooks; ++i) {
    const Reach reach = parts_.reach(*pick);
    const bool is_ready = reach == Reach::kReady || (hashes && reach == Reach::kConnecting);
    if (is_ready || BalancerCore::IsProbe(pick)) return pick;
    passed.push_back(BalancerCore::EndpointOf(pick));
    if (!best || reach < best_reach) {
      best = std::move(pick);
      best_reach = reach;
    }
    pick = balancer.NextBut(passed, !tried.empty());
    // Somebody is taken even when there is nobody else.
    const auto is_pick = [&pick](const EndpointPtr& one) { return one.get() == &*pick; };
    if (!pick || std::any_of(passed.begin(), passed.end(), is_pick)) break;
  }
  return best;
}

bool CallerCore::AttemptEnded(const Pick& pick, const std::string& endpoint, int number,
                              const absl::Status& status, absl::Duration took) {
  const bool has_failed = IsFailure(status);
  BreakerState state;
  // One that was called off says nothing of the endpoint.
  if (!absl::IsCancelled(status) && parts_.balancer->Report(pick, !has_failed, &state)) {
    Tell(endpoint, state);
  }
  Record(!has_failed);
  const AttemptEvent event{parts_.service, endpoint, pick.source(), number, status, took};
  parts_.counts->AttemptEnded(event, has_failed, parts_.clock.Steady());
  if (options_.on_attempt) options_.on_attempt(event);
  return has_failed;
}

void CallerCore::CallEnded(const Made& made, const absl::Status& status, base::SteadyTime began) {
  const base::SteadyTime now = parts_.clock.Steady();
  const bool has_failed = IsFailure(status);
  parts_.counts->CallEnded(made.attempts, has_failed, now - began);
  uint64_t unsaid = 0;
  if (!has_failed || !options_.log_failures || !parts_.counts->MayLog(now, &unsaid)) return;
  base::Log(base::LogLevel::kWarn, "a call failed",
            {{"service", parts_.service},
             {"endpoint", made.last.empty() ? "none" : made.last},
             {"attempts", absl::StrCat(made.attempts)},
             {"took", base::FormatDuration(absl::Trunc(now - began, absl::Microseconds(1)))},
             {"why", status.ToString()},
             {"failed_before_unlogged", absl::StrCat(unsaid)}});
}

absl::Status CallerCore::May() {
  budget_.Called();
  auto refused = Refused();
  if (!refused) return absl::OkStatus();
  CallEnded({}, *refused, parts_.clock.Steady());
  return *std::move(refused);
}

Pick CallerCore::Choose() {
  Pick pick = ChooseFor(nullptr, {});
  if (pick) return pick;
  Record(true);
  CallEnded({}, parts_.balancer->status(), parts_.clock.Steady());
  return pick;
}

void CallerCore::Ended(Pick pick, const absl::Status& status, base::SteadyTime began,
                       bool is_stream) {
  const Made made{.attempts = 1, .last = AddressOf(*pick)};
  AttemptEnded(pick, made.last, 1, status, parts_.clock.Steady() - began);
  CallEnded(made, status, began);
  if (!is_stream) pick.Done();
}

void CallerCore::Record(bool ok) {
  BreakerState state;
  {
    base::MutexLock lock(mu_);
    const BreakerState before = breaker_.state();
    breaker_.Record(ok, parts_.clock.Steady());
    state = breaker_.state();
    if (state == before) return;
    if (state == BreakerState::kOpen) arrivals_ = parts_.balancer->arrivals();
  }
  Tell("", state);
}

void CallerCore::Tell(const std::string& endpoint, BreakerState state) const {
  if (endpoint.empty()) parts_.counts->BreakerIs(state);
  if (options_.on_breaker) options_.on_breaker({parts_.service, endpoint, state});
}

BreakerState CallerCore::breaker() const {
  base::MutexLock lock(mu_);
  return breaker_.state();
}

absl::Status Caller::Call(const Function& function, Idempotent idempotent) const {
  return core_->Call(nullptr, function, idempotent);
}

absl::Status Caller::Call(std::string_view key, const Function& function,
                          Idempotent idempotent) const {
  return core_->Call(&key, function, idempotent);
}

BreakerState Caller::breaker() const { return core_->breaker(); }

size_t Caller::left_out() const { return core_->left_out(); }

}  // namespace muster::client

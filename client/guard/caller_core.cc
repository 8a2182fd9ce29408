#include "client/guard/caller_core.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "base/net_address.h"
#include "base/text.h"

namespace muster::client {
namespace {

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

CallerCore::CallerCore(CallerOptions options, std::string service,
                       std::shared_ptr<BalancerCore> balancer, const base::Clock& clock,
                       std::function<void(absl::Duration)> pause)
    : options_(std::move(options)),
      service_(std::move(service)),
      balancer_(std::move(balancer)),
      clock_(clock),
      pause_(std::move(pause)),
      budget_(options_.retry_budget),
      breaker_(options_.service_breaker) {}

absl::Status CallerCore::Call(const std::string_view* key, const Caller::Function& function,
                              Idempotent idempotent) {
  const base::SteadyTime began = clock_.Steady();
  budget_.Called();
  std::unique_ptr<RetryPolicy> retry;
  std::unique_ptr<BackoffPolicy> backoff;
  base::SystemRng rng;
  std::vector<const Endpoint*> tried;
  absl::Status status;
  for (int number = 1;; ++number) {
    if (auto refused = Refused()) {
      // What an attempt said is worth more.
      if (number > 1) return status;
      return options_.fallback ? options_.fallback(*refused) : *std::move(refused);
    }
    bool has_failed = false;
    status = TryOnce(key, function, number, &tried, &has_failed);
    if (!has_failed || idempotent == Idempotent::kNo) return status;
    if (retry == nullptr) retry = options_.retry->clone();
    if (!retry->MayRetry(status, clock_.Steady() - began) || !budget_.Take()) return status;
    if (backoff == nullptr) backoff = options_.backoff->clone();
    pause_(backoff->Next(rng.Unit()));
  }
}

std::optional<absl::Status> CallerCore::Refused() {
  BreakerState state;
  {
    base::MutexLock lock(mu_);
    const BreakerState before = breaker_.state();
    const base::SteadyTime now = clock_.Steady();
    if (!breaker_.Allow(now)) {
      return absl::UnavailableError(absl::StrCat(
          "calls of ", base::Quoted(service_), " are not made for another ",
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
                                 int number, std::vector<const Endpoint*>* tried,
                                 bool* has_failed) {
  // A retry goes to somebody else.
  Pick pick = !tried->empty() ? balancer_->NextBut(*tried)
                              : (key == nullptr ? balancer_->Next() : balancer_->Next(*key));
  if (!pick) {
    // Nobody failed. But a breaker that waits for its probe has to hear of something.
    Record(true);
    return balancer_->status();
  }
  const base::SteadyTime began = clock_.Steady();
  absl::Status status = function({*pick, options_.timeout, number});
  const absl::Duration took = clock_.Steady() - began;
  if (status.ok() && took > options_.timeout) {
    status = absl::DeadlineExceededError(
        absl::StrCat(AddressOf(*pick), " answered after ",
                     base::FormatDuration(absl::Trunc(took, absl::Milliseconds(1)))));
  }
  *has_failed = IsFailure(status);
  BreakerState state;
  if (balancer_->Report(pick, !*has_failed, &state)) Tell(AddressOf(*pick), state);
  Record(!*has_failed);
  tried->push_back(&*pick);
  pick.Done();
  return status;
}

void CallerCore::Record(bool ok) {
  BreakerState state;
  {
    base::MutexLock lock(mu_);
    const BreakerState before = breaker_.state();
    breaker_.Record(ok, clock_.Steady());
    state = breaker_.state();
    if (state == before) return;
  }
  Tell("", state);
}

void CallerCore::Tell(const std::string& endpoint, BreakerState state) const {
  if (options_.on_breaker) options_.on_breaker({service_, endpoint, state});
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

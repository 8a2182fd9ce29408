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
// How long, and how often, one that has come is tried while the breaker is open: it may take a
// moment until it can be reached.
constexpr absl::Duration kEager = absl::Seconds(3);
constexpr absl::Duration kBetweenEager = absl::Milliseconds(200);

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

CallerCore::~CallerCore() {
  // Nobody asks it any more.
  if (breaker() != BreakerState::kClosed) parts_.counts->BreakerIs(BreakerState::kClosed);
}

absl::Status CallerCore::Call(const std::string_view* key, const Caller::Function& function,
                              Idempotent idempotent) {
  const base::SteadyTime began = parts_.clock.Steady();
  if (!function) return absl::InvalidArgumentError("function: there is none");
  budget_.Called();
  Made made;
  absl::Status status = Try(key, function, idempotent, began, &made);
  const bool not_made = made.attempts == 0 && !status.ok();
  CallEnded(made, status, not_made || IsFailure(status), began);
  return status;
}

absl::Status CallerCore::Try(const std::string_view* key, const Caller::Function& function,
                             Idempotent idempotent, base::SteadyTime began, Made* made) {
  std::unique_ptr<RetryPolicy> retry;
  std::unique_ptr<BackoffPolicy> backoff;
  base::SystemRng rng;
  absl::Status status;
  for (;;) {
    if (auto refused = Refused(&made->arrived_after)) {
      // What an attempt said is worth more.
      if (made->attempts > 0) return status;
      return options_.fallback ? options_.fallback(*refused) : *std::move(refused);
    }
    const int attempts = made->attempts;
    status = TryOnce(key, function, options_.total - (parts_.clock.Steady() - began), made);
    const bool was_made = made->attempts > attempts;
    if (status.ok() || !was_made || idempotent == Idempotent::kNo) return status;
    if (retry == nullptr) retry = options_.retry->clone();
    const absl::Duration ran = parts_.clock.Steady() - began;
    if (!retry->MayRetry(status, ran)) return status;
    if (backoff == nullptr) backoff = options_.backoff->clone();
    const absl::Duration pause = backoff->Next(rng.Unit());
    if (ran + pause >= options_.total || !budget_.Take()) return status;
    parts_.pause(pause);
  }
}

std::optional<absl::Status> CallerCore::Refused(std::optional<uint64_t>* arrived_after) {
  arrived_after->reset();
  BreakerState state;
  {
    base::MutexLock lock(mu_);
    const BreakerState before = breaker_.state();
    const base::SteadyTime now = parts_.clock.Steady();
    const uint64_t arrivals = parts_.balancer->arrivals();
    // Those that have come since aren't those that failed.
    if (before == BreakerState::kOpen && arrivals != arrivals_) {
      eager_ = {.after = std::exchange(arrivals_, arrivals), .next = now, .until = now + kEager};
    }
    if (before == BreakerState::kOpen && now >= eager_.next && now < eager_.until) {
      breaker_.ProbeNow(now);
      eager_.next = now + kBetweenEager;
      *arrived_after = eager_.after;
    }
    if (!breaker_.Allow(now)) {
      return absl::UnavailableError(absl::StrCat(
          "calls of ", base::Quoted(parts_.service), " are not made for another ",
          base::FormatDuration(absl::Trunc(breaker_.until() - now, absl::Milliseconds(1))), ": ",
          breaker_.failed(), " of ", breaker_.calls(), " failed"));
    }
    arrivals_ = arrivals;
    state = breaker_.state();
    if (state == before) return std::nullopt;
  }
  Tell("", state);
  return std::nullopt;
}

absl::Status CallerCore::TryOnce(const std::string_view* key, const Caller::Function& function,
                                 absl::Duration left, Made* made) {
  Pick pick = ChooseFor(key, *made);
  if (!pick) {
    GiveBack();
    return parts_.balancer->status();
  }
  ++made->attempts;
  made->last = AddressOf(*pick);
  const absl::Duration timeout = std::min(options_.timeout, left);
  const base::SteadyTime began = parts_.clock.Steady();
  absl::Status status = function({*pick, timeout, made->attempts});
  const absl::Duration took = parts_.clock.Steady() - began;
  if (status.ok() && took > timeout) {
    status = absl::DeadlineExceededError(
        absl::StrCat(made->last, " answered after ",
                     base::FormatDuration(absl::Trunc(took, absl::Milliseconds(1)))));
  }
  const Verdict verdict = VerdictOf(status);
  Judge(pick, made->last, verdict);
  Tell(pick, made->last, made->attempts, status, took, verdict == Verdict::kFailed);
  made->tried.push_back(BalancerCore::EndpointOf(pick));
  pick.Done();
  return status;
}

Pick CallerCore::ChooseFor(const std::string_view* key, const Made& made) {
  BalancerCore& balancer = *parts_.balancer;
  if (made.arrived_after) return balancer.NextArrived(*made.arrived_after);
  Pick pick;
  if (!made.tried.empty()) {
    // A retry goes to somebody else.
    pick = balancer.NextBut(made.tried, &made.tried.back()->zone);
  } else {
    pick = key == nullptr ? balancer.Next() : balancer.Next(*key);
  }
  return parts_.reach && pick ? Ready(std::move(pick), made) : std::move(pick);
}

Pick CallerCore::Ready(Pick pick, const Made& made) {
  // A key is worth waiting for a connection.
  const bool hashes = options_.balance.policy == Policy::kConsistentHash;
  const std::string* but_zone = made.tried.empty() ? nullptr : &made.tried.back()->zone;
  EndpointList passed = made.tried;
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
    pick = parts_.balancer->NextBut(passed, but_zone);
    // Another zone is worth waiting for a connection, too.
    const bool is_back = but_zone != nullptr && pick && pick->zone == *but_zone &&
                         best->zone != *but_zone && best_reach != Reach::kFailing;
    if (is_back) break;
    // Somebody is taken even when there is nobody else.
    const auto is_pick = [&pick](const EndpointPtr& one) { return one.get() == &*pick; };
    if (!pick || std::any_of(passed.begin(), passed.end(), is_pick)) break;
  }
  return best;
}

CallerCore::Verdict CallerCore::VerdictOf(const absl::Status& status) {
  // One that was called off says nothing.
  if (absl::IsCancelled(status)) return Verdict::kNothing;
  return IsFailure(status) ? Verdict::kFailed : Verdict::kWell;
}

void CallerCore::Judge(const Pick& pick, const std::string& endpoint, Verdict verdict) {
  if (verdict == Verdict::kNothing) {
    parts_.balancer->GiveBack(pick);
    return GiveBack();
  }
  const bool ok = verdict == Verdict::kWell;
  BreakerState state;
  if (parts_.balancer->Report(pick, ok, &state)) Tell(endpoint, state);
  Record(ok);
}

void CallerCore::Tell(const Pick& pick, const std::string& endpoint, int number,
                      const absl::Status& status, absl::Duration took, bool has_failed) {
  const AttemptEvent event{parts_.service, endpoint, pick.source(), number, status, took};
  parts_.counts->AttemptEnded(event, has_failed, parts_.clock.Steady());
  if (options_.on_attempt) options_.on_attempt(event);
}

void CallerCore::CallEnded(const Made& made, const absl::Status& status, bool has_failed,
                           base::SteadyTime began) {
  const base::SteadyTime now = parts_.clock.Steady();
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

absl::StatusOr<Pick> CallerCore::Choose() {
  budget_.Called();
  Made made;
  if (auto refused = Refused(&made.arrived_after)) {
    NotMade(*refused);
    return *std::move(refused);
  }
  Pick pick = ChooseFor(nullptr, made);
  if (pick) {
    BalancerCore::Lighten(&pick);
    return pick;
  }
  GiveBack();
  const absl::Status why = parts_.balancer->status();
  NotMade(why);
  return why;
}

void CallerCore::Delivers(const Pick& pick) { Judge(pick, AddressOf(*pick), Verdict::kWell); }

void CallerCore::Ended(Pick pick, const Ending& ending) {
  const Made made{.attempts = 1, .last = AddressOf(*pick)};
  const Verdict verdict = ending.says_nothing ? Verdict::kNothing : VerdictOf(ending.status);
  if (!ending.delivered) Judge(pick, made.last, verdict);
  // One that has delivered until its time was over did what it should.
  const bool has_failed =
      IsFailure(ending.status) && !(ending.delivered && absl::IsDeadlineExceeded(ending.status));
  Tell(pick, made.last, 1, ending.status, parts_.clock.Steady() - ending.began, has_failed);
  CallEnded(made, ending.status, has_failed, ending.began);
  if (!ending.is_stream) pick.Done();
}

void CallerCore::NotMade(const absl::Status& status) {
  CallEnded({}, status, /*has_failed=*/true, parts_.clock.Steady());
}

void CallerCore::GiveBack() {
  base::MutexLock lock(mu_);
  breaker_.GiveBack();
}

void CallerCore::Record(bool ok) {
  BreakerState state;
  {
    base::MutexLock lock(mu_);
    const BreakerState before = breaker_.state();
    breaker_.Record(ok, parts_.clock.Steady());
    state = breaker_.state();
    if (state == before) return;
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

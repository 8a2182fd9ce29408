#include "server/health/check_session.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "base/errors.h"
#include "server/core/check_rules.h"
#include "server/core/definition.h"

namespace muster::health {
namespace {

// However long the interval, who registers is not kept waiting.
constexpr absl::Duration kFirstRunWithin = absl::Seconds(1);
constexpr double kEarly = 1.0 / 20;
// From start to start on average. Drawn from that, first runs lead to an even spread.
constexpr double kMean = 1 - kEarly / 2;
// Of a proposal that the store refused.
constexpr absl::Duration kRetry = absl::Seconds(1);
// A run that has its place for so long, or for its whole timeout, is a slow one.
constexpr absl::Duration kSlow = absl::Seconds(1);
// So that targets that answer now and then, and hang between, are slow ones.
constexpr int kSlowFor = 8;
// Whose runs may last longer is a slow one: once it hangs, it has its place for so long.
constexpr absl::Duration kLongestQuick = absl::Seconds(10);
// How much longer targets may stay that are unreachable together with many others.
constexpr absl::Duration kCutOffHold = absl::Seconds(60);

std::string Encode(const v1::Check& check) {
  std::string out;
  core::AppendDeterministic(check, out);
  return out;
}

v1::Health StatusOf(const v1::Check& check, const storage::v1::CheckRecord* result) {
  return result == nullptr ? core::InitialStatus(check) : result->status();
}

HealthState::Outcome OutcomeOf(const ProbeResult& result) {
  switch (result.outcome) {
    case ProbeResult::Outcome::kPassing:
      return HealthState::Outcome::kPassing;
    case ProbeResult::Outcome::kWarning:
      return HealthState::Outcome::kWarning;
    default:
      return HealthState::Outcome::kFailing;
  }
}

}  // namespace

CheckSession::CheckSession(uint64_t id, const Followed& instance, const v1::Check& check, Aim aim,
                           const storage::v1::CheckRecord* result, std::unique_ptr<Prober> prober,
                           std::string problem, SessionHost& host)
    : id_(id),
      instance_(instance),
      check_(check),
      encoded_(Encode(check)),
      aim_(std::move(aim)),
      interval_(core::TimesOf(check).interval),
      failing_interval_(core::TimesOf(check).failing_interval),
      timeout_(core::TimesOf(check).timeout),
      host_(host),
      prober_(std::move(prober)),
      problem_(std::move(problem)),
      state_(ThresholdsOf(check), StatusOf(check, result), result != nullptr) {
  if (result == nullptr) return;
  stored_ = {result->status(), result->output()};
  stored_at_ = host_.Now();
  is_known_ = result->status() == v1::PASSING || result->status() == v1::WARNING;
}

CheckSession::~CheckSession() {
  if (running_) host_.LeaveSlot(id_);
  if (unreachable_since_.us != 0) host_.CountUnreachable(instance_.zone, -1);
}

bool CheckSession::Is(const v1::Check& check, std::string_view target) const {
  return target == aim_.target && Encode(check) == encoded_;
}

base::SteadyTime CheckSession::Drawn(absl::Duration from) const {
  return host_.Now() + from * host_.rng().Unit();
}

void CheckSession::Begin(bool fresh) {
  if (is_ttl()) {
    ttl_ends_ = host_.ActiveNow() + core::FromProto(check_.ttl().ttl());
    return WakeNext();
  }
  if (!problem_.empty()) {
    Conclude(v1::CRITICAL, problem_);
    return;
  }
  fresh_ = fresh;
  next_run_ = Drawn(fresh ? std::min(interval_, kFirstRunWithin) : interval_ * kMean);
  has_next_run_ = true;
  WakeNext();
}

void CheckSession::Continue(const Followed& instance) {
  const bool another_life = instance.incarnation != instance_.incarnation;
  instance_ = instance;
  if (!another_life) return;
  // What is under way asks a process that is gone.
  state_.Restart();
  SetReached(true);
  EndRun();
  found_ = {v1::HEALTH_UNSPECIFIED, ""};
  retry_ = held_back_ = watching_ = polls_ = has_next_run_ = ttl_is_over_ = false;
  Begin(/*fresh=*/true);
}

void CheckSession::WakeNext() {
  const base::SteadyTime now = host_.Now();
  std::optional<base::SteadyTime> at;
  if (is_ttl() && !ttl_is_over_) {
    // Active time falls behind by each gap: looked at again then.
    at = now + std::max(ttl_ends_ - host_.ActiveNow(), absl::ZeroDuration());
  } else if (is_ttl() && check_.has_deregister_after_critical()) {
    at = now + kRetry;
  } else if (has_next_run_) {
    at = next_run_;
  }
  const auto or_at = [&at](base::SteadyTime other) { at = at ? std::min(*at, other) : other; };
  if (retry_) or_at(now + kRetry);
  if (held_back_) or_at(stored_at_ + core::kOutputEvery);
  if (at) host_.WakeAt(id_, *at);
}

void CheckSession::Wake() {
  if (retry_ || held_back_) ProposeIfDue();
  if (is_ttl() && !ttl_is_over_ && ttl_ends_ <= host_.ActiveNow()) {
    ttl_is_over_ = true;
    SetReached(false);
    const absl::Duration ttl = core::FromProto(check_.ttl().ttl());
    Conclude(v1::CRITICAL, absl::StrCat("no report for ", base::FormatDuration(ttl)));
  }
  if (is_ttl()) MayDeregister();
  if (!has_next_run_ || next_run_ > host_.Now()) return WakeNext();
  has_next_run_ = false;
  running_ = true;
  host_.AskSlot(id_, aim_.host, lane());
}

void CheckSession::Run() {
  started_ = host_.Now();
  has_place_ = true;
  if (!polls_) {
    probe_ = prober_->Watch({.on_status = [this](ProbeResult r) { OnWatchStatus(std::move(r)); },
                             .on_end = [this](WatchEnd end) { OnWatchEnd(std::move(end)); }});
    if (probe_ != nullptr) return;
    polls_ = true;
  }
  probe_ = prober_->Start([this](ProbeResult result) { OnResult(std::move(result)); });
}

ProbeSlots::Lane CheckSession::lane() const {
  if (slow_for_ > 0 || timeout_ > kLongestQuick) {
    return ProbeSlots::Lane::kSlow;
  }
  return is_known_ ? ProbeSlots::Lane::kQuick : ProbeSlots::Lane::kNew;
}

void CheckSession::LeavePlace() {
  if (!std::exchange(running_, false)) return;
  host_.LeaveSlot(id_);
  if (!std::exchange(has_place_, false)) return;
  host_.NoticeGap();
  // How long it took says something of this server only.
  if (started_ < host_.last_gap()) return;
  is_known_ = true;
  if (host_.Now() - started_ >= std::min(kSlow, timeout_)) {
    slow_for_ = kSlowFor;
  } else if (slow_for_ > 0) {
    --slow_for_;
  }
}

void CheckSession::EndRun() {
  probe_.reset();
  LeavePlace();
}

void CheckSession::RunAt(base::SteadyTime at) {
  EndRun();
  // One that is late keeps its place in the interval, or those that waited for each other in a
  // crowd would stay together.
  next_run_ = at + interval_ < host_.Now() ? host_.Now() : at;
  has_next_run_ = true;
  WakeNext();
}

void CheckSession::OnResult(ProbeResult result) {
  using Outcome = ProbeResult::Outcome;
  host_.NoticeGap();
  const bool failed = result.outcome == Outcome::kFailing;
  if (failed && started_ < host_.last_gap()) return RunAt(host_.Now());
  EndRun();
  // One that wasn't made says nothing of the target.
  const bool made = result.outcome != Outcome::kNotRun;
  if (made) {
    SetReached(result.reached);
    const v1::Health status = state_.Add(OutcomeOf(result), host_.Now());
    Conclude(status, std::move(result.output));
  }
  const absl::Duration interval = state_.failing() ? failing_interval_ : interval_;
  const double unit = host_.rng().Unit();
  const absl::Duration wait =
      std::exchange(fresh_, false) ? interval * unit * kMean : interval * (1 - unit * kEarly);
  RunAt(next_run_ + wait);
  if (made) MayDeregister();
}

void CheckSession::OnWatchStatus(ProbeResult result) {
  // It holds no place while nothing is asked.
  LeavePlace();
  watching_ = true;
  fresh_ = false;
  SetReached(true);
  Conclude(state_.Set(OutcomeOf(result), host_.Now()), std::move(result.output));
}

void CheckSession::OnWatchEnd(WatchEnd end) {
  const bool was_watching = std::exchange(watching_, false);
  switch (end.cause) {
    case WatchEnd::Cause::kUnsupported:
      polls_ = true;
      return RunAt(host_.Now());
    case WatchEnd::Cause::kLost:
      return RunAt(started_ + kRetry);
    case WatchEnd::Cause::kFailed:
      // That it is silent took as long as a run that began a timeout ago.
      if (was_watching) started_ = next_run_ = host_.Now() - timeout_;
      return OnResult(std::move(end.result));
  }
}

void CheckSession::Reported() {
  ttl_ends_ = host_.ActiveNow() + core::FromProto(check_.ttl().ttl());
  ttl_is_over_ = false;
  SetReached(true);
  // What was found by itself is over: the report stands in the store. Or will: what is proposed now
  // may come before it or after.
  found_ = stored_ = proposed_ = {v1::HEALTH_UNSPECIFIED, ""};
  retry_ = held_back_ = false;
  WakeNext();
}

void CheckSession::SetReached(bool reached) {
  const bool was_reached = unreachable_since_.us == 0;
  if (reached == was_reached) return;
  unreachable_since_ = reached ? base::SteadyTime{} : host_.ActiveNow();
  host_.CountUnreachable(instance_.zone, reached ? -1 : 1);
}

void CheckSession::Conclude(v1::Health status, std::string output) {
  found_ = {status, std::move(output)};
  ProposeIfDue();
}

void CheckSession::ProposeIfDue() {
  held_back_ = false;
  if (proposing_ || found_.status == v1::HEALTH_UNSPECIFIED) return;
  const bool same_status = found_.status == stored_.status;
  if (same_status && found_.text == stored_.text) return;
  held_back_ = same_status && host_.Now() < stored_at_ + core::kOutputEvery;
  if (held_back_) return WakeNext();
  proposing_ = true;
  retry_ = false;
  proposed_ = found_;
  proposed_definition_ = instance_.definition_seq;
  host_.Propose(id_, {.instance_key = instance_.key,
                      .check_id = check_.id(),
                      .definition_seq = instance_.definition_seq,
                      .status = found_.status,
                      .output = found_.text});
}

void CheckSession::Proposed(const absl::Status& status) {
  proposing_ = false;
  if (status.ok()) {
    stored_ = proposed_;
    stored_at_ = host_.Now();
    return ProposeIfDue();
  }
  if (absl::IsNotFound(status)) {
    // The instance is gone, of which this hears soon; or it has another definition.
    if (proposed_definition_ != instance_.definition_seq) ProposeIfDue();
    return;
  }
  retry_ = true;
  WakeNext();
}

void CheckSession::MayDeregister() {
  if (!check_.has_deregister_after_critical() || unreachable_since_.us == 0) return;
  if (state_.status() != v1::CRITICAL && !is_ttl()) return;
  absl::Duration after = core::FromProto(check_.deregister_after_critical());
  const absl::Duration unreachable = host_.ActiveNow() - unreachable_since_;
  if (unreachable < after) return;
  if (host_.MayBeCutOff(instance_.zone)) {
    host_.TellHeld(instance_.zone);
    after += kCutOffHold;
  }
  if (unreachable < after) return;
  host_.Deregister(instance_.key, instance_.incarnation,
                   absl::StrCat("check \"", check_.id(), "\" unreachable for ",
                                base::FormatDuration(unreachable)));
}

}  // namespace muster::health

#include "client/lease/registrar.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "client/rpc_error.h"
#include "client/wire.h"

namespace muster::client {
namespace {

using Failure = LeaseKeeper::Failure;
using Outcome = LeaseKeeper::Outcome;
using Phase = LeaseKeeper::Phase;

// Of one message; the server's limit is 10,000.
constexpr size_t kMaxBeats = 5'000;
constexpr absl::Duration kLeastAnswer = absl::Milliseconds(250);

// Before a call was sent: it can't have been done.
bool NeverSent(const absl::Status& status) {
  const absl::string_view message = status.message();
  return absl::IsUnavailable(status) && (absl::StartsWith(message, "can't connect") ||
                                         absl::StrContains(message, "failed to connect") ||
                                         absl::StrContains(message, "DNS resolution failed"));
}

constexpr base::Backoff kLeaveAgain{absl::Milliseconds(100), absl::Seconds(1)};

absl::Duration FromWire(const google::protobuf::Duration& wire) {
  return absl::Seconds(wire.seconds()) + absl::Nanoseconds(wire.nanos());
}

Failure FailureOf(const absl::Status& status) {
  const std::string reason = ReasonOf(status);
  if (reason == "SUPERSEDED" || reason == "STALE_INCARNATION") return Failure::kSuperseded;
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return Failure::kInvalid;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAlreadyExists:
      return Failure::kRefused;
    default:
      return Failure::kPassing;
  }
}

Outcome OutcomeOf(int wire) {
  switch (wire) {
    case v1::HeartbeatResponse::RENEWED:
      return Outcome::kRenewed;
    case v1::HeartbeatResponse::UNKNOWN:
      return Outcome::kUnknown;
    case v1::HeartbeatResponse::STALE:
      return Outcome::kStale;
    default:  // LOADING, or what a newer server may say
      return Outcome::kLoading;
  }
}

RegistrationStatus::State StateOf(Phase phase) {
  switch (phase) {
    case Phase::kPending:
      return RegistrationStatus::State::kPending;
    case Phase::kHeld:
      return RegistrationStatus::State::kHeld;
    case Phase::kLost:
      return RegistrationStatus::State::kLost;
    case Phase::kSuperseded:
      return RegistrationStatus::State::kSuperseded;
    case Phase::kInvalid:
      return RegistrationStatus::State::kInvalid;
  }
  return RegistrationStatus::State::kPending;
}

}  // namespace

Registrar::Registrar(Scheduler& scheduler, LeaseTransport& transport, base::Rng& rng,
                     Options options)
    : scheduler_(scheduler),
      transport_(transport),
      rng_(rng),
      options_(options),
      failover_(transport.servers(), rng, options.failover) {}

Registrar::~Registrar() {
  scheduler_.Cancel(pause_);
  scheduler_.Cancel(timer_);
}

Registrar::Id Registrar::Add(v1::RegisterRequest request, Told told) {
  const Id id = ++last_id_;
  const auto added = leases_.try_emplace(id, LeaseKeeper(rng_, options_.lease), std::move(request),
                                         std::move(told));
  Reschedule(id, added.first->second);
  Pump();
  return id;
}

void Registrar::Report(Id id, const std::string& check_id, HealthReport report,
                       absl::Duration ttl) {
  const auto found = leases_.find(id);
  if (found == leases_.end() || found->second.abandoned) return;
  Reported& reported = found->second.reports[check_id];
  reported.report = std::move(report);
  reported.until = scheduler_.Now() + ttl;
  reported.sent = false;
  SendReports(id, found->second);
}

void Registrar::Drain(Id id, absl::Duration within, LeaseSession::Done<v1::DrainResponse> done) {
  const auto found = leases_.find(id);
  if (session_ == nullptr || found == leases_.end() || found->second.abandoned ||
      found->second.keeper.phase() != Phase::kHeld) {
    return done(absl::FailedPreconditionError("the registry doesn't have it now"));
  }
  // A session that is lost takes the call with it.
  auto shared = std::make_shared<LeaseSession::Done<v1::DrainResponse>>(std::move(done));
  drains_.push_back(shared);
  SendDrain(id, found->second, std::min(within, kLongestDrain),
            [this, shared](absl::StatusOr<v1::DrainResponse> response) {
              std::erase(drains_, shared);
              (*shared)(std::move(response));
            });
}

// The answer comes after `within` at the latest.
void Registrar::SendDrain(Id id, Lease& lease, absl::Duration within,
                          LeaseSession::Done<v1::DrainResponse> done) {
  lease.drain_told_of = lease.registered->incarnation();
  v1::DrainRequest request;
  *request.mutable_key() = lease.registered->key();
  request.set_incarnation(lease.registered->incarnation());
  *request.mutable_deadline() = ToWire(within);
  session_->Drain(request, within + options_.answer,
                  Posted<absl::StatusOr<v1::DrainResponse>>(
                      [this, id, incarnation = request.incarnation(),
                       done = std::move(done)](absl::StatusOr<v1::DrainResponse> response) {
                        OnDrained(id, incarnation, response.status());
                        done(std::move(response));
                      }));
}

void Registrar::OnDrained(Id id, uint64_t incarnation, const absl::Status& status) {
  const auto found = leases_.find(id);
  if (found == leases_.end()) return;
  Lease& lease = found->second;
  lease.drains |= status.ok();
  if (status.ok() || lease.drain_told_of != incarnation) return;
  // What failed in passing is tried again with the next confirmation.
  lease.drain_told_of = 0;
  if (FailureOf(status) != Failure::kPassing) lease.drains = false;
}

void Registrar::DrainAgain(Id id, Lease& lease) {
  if (!lease.drains || lease.leaving || session_ == nullptr ||
      lease.keeper.phase() != Phase::kHeld ||
      lease.drain_told_of == lease.registered->incarnation()) {
    return;
  }
  SendDrain(id, lease, absl::ZeroDuration(), [](const auto&) {});
}

void Registrar::Leave(Id id, absl::Duration within, std::function<void(const absl::Status&)> done) {
  const auto found = leases_.find(id);
  if (found == leases_.end()) return done(absl::OkStatus());
  Lease& lease = found->second;
  const base::SteadyTime now = scheduler_.Now();
  if (!lease.leaving) lease.leaving = Leaving{.until = now + within, .at = now};
  lease.leaving->until = std::min(lease.leaving->until, now + within);
  lease.leaving->done.push_back(std::move(done));
  const Phase phase = lease.keeper.phase();
  const bool may_exist = lease.may_exist || lease.registering || lease.registered.has_value();
  if (!may_exist || phase == Phase::kSuperseded || phase == Phase::kInvalid) {
    return EndLeaving(id, absl::OkStatus());
  }
  Reschedule(id, lease);
  Pump();
}

void Registrar::EndLeaving(Id id, const absl::Status& status) {
  const auto found = leases_.find(id);
  Lease& lease = found->second;
  if (lease.due) due_.erase({*lease.due, id});
  lease.last.state = RegistrationStatus::State::kEnded;
  lease.last.why = status;
  lease.told(lease.last);
  const auto waiting = std::move(lease.leaving->done);
  if (status.ok()) {
    leases_.erase(found);
  } else {
    lease.leaving.reset();
    lease.abandoned = true;
    lease.due.reset();
  }
  CloseIfUnneeded();
  for (const auto& done : waiting) done(status);
}

void Registrar::Forget(Id id) {
  const auto found = leases_.find(id);
  if (found == leases_.end()) return;
  if (found->second.due) due_.erase({*found->second.due, id});
  leases_.erase(found);
  CloseIfUnneeded();
}

bool Registrar::CloseIfUnneeded() {
  if (IsNeeded()) return false;
  Close();
  EndDrains(absl::CancelledError("it was deregistered meanwhile"));
  return true;
}

bool Registrar::IsNeeded() const {
  return std::any_of(leases_.begin(), leases_.end(), [](const auto& one) {
    return !one.second.abandoned || one.second.leaving.has_value();
  });
}

template <typename Argument>
std::function<void(Argument)> Registrar::Posted(std::function<void(Argument)> handle) {
  // It outlives the registrar in the hands of a session that ends.
  return [handle = std::move(handle), &scheduler = scheduler_,
          alive = std::weak_ptr<Alive>(alive_)](Argument argument) {
    scheduler.Post([handle, alive, argument = std::move(argument)]() mutable {
      if (!alive.expired()) handle(std::move(argument));
    });
  };
}

void Registrar::Open() {
  pause_ = 0;
  alive_ = std::make_shared<Alive>();
  opened_ = scheduler_.Now();
  answered_ = false;
  session_ =
      transport_.Open(failover_.server(),
                      {.on_beat = Posted<v1::HeartbeatResponse>(
                           [this](const v1::HeartbeatResponse& response) { OnBeat(response); }),
                       .on_end = Posted<absl::Status>([this](absl::Status status) {
                         Fail(status.ok() ? absl::UnavailableError("the server ended the stream")
                                          : std::move(status));
                       })});
  for (auto& [id, lease] : leases_) Reschedule(id, lease);
}

void Registrar::Close() {
  alive_ = nullptr;
  session_ = nullptr;
  beats_.clear();
  scheduler_.Cancel(std::exchange(pause_, 0));
  scheduler_.Cancel(std::exchange(timer_, 0));
}

bool Registrar::IsLoss(const absl::Status& status) const {
  if (absl::IsDeadlineExceeded(status)) return true;
  if (!absl::IsUnavailable(status)) return false;
  const std::string reason = ReasonOf(status);
  // What it says of one instance says nothing of the server.
  return reason.empty() || (transport_.servers() > 1 && reason != "OUTCOME_UNKNOWN");
}

std::string Registrar::Named(const absl::Status& status) const {
  return absl::StrCat(transport_.address(failover_.server()), ": ",
                      base::EscapeForTerminal(base::Sv(status.message())));
}

void Registrar::Fail(absl::Status status) {
  const absl::Status why(status.code(), Named(status));
  const base::SteadyTime now = scheduler_.Now();
  const bool was_good = answered_ && now - opened_ >= options_.good;
  Close();
  const Failover::Next next = failover_.Failed(status, was_good);
  pause_ = scheduler_.At(now + next.pause, [this] {
    Open();
    Pump();
  });
  for (auto& [id, lease] : leases_) {
    // What was sent may have been done.
    lease.may_exist |= lease.registering && !NeverSent(status);
    lease.registering = false;
    lease.drain_told_of = 0;
    lease.keeper.Dropped(why, now);
    for (auto& [check_id, reported] : lease.reports) reported.sent = reported.under_way = false;
    if (lease.leaving) {
      lease.leaving->under_way = false;
      lease.leaving->why = why;
    }
    Reschedule(id, lease);
    if (!lease.abandoned) Tell(lease);
  }
  EndDrains(why);
  Pump();
}

void Registrar::EndDrains(const absl::Status& why) {
  for (const auto& done : std::exchange(drains_, {})) (*done)(why);
}

void Registrar::Answered() {
  answered_ = true;
  failover_.Answered();
}

void Registrar::Reschedule(Id id, Lease& lease) {
  if (lease.due) due_.erase({*lease.due, id});
  lease.due = lease.abandoned ? std::nullopt : lease.keeper.next();
  if (lease.leaving) {
    const Leaving& leaving = *lease.leaving;
    const bool waits = session_ == nullptr || leaving.under_way || lease.registering;
    lease.due = waits ? leaving.until : std::min(leaving.until, leaving.at);
  }
  if (lease.due) due_.insert({*lease.due, id});
}

void Registrar::Pump() {
  if (CloseIfUnneeded()) return;
  const base::SteadyTime now = scheduler_.Now();
  if (!beats_.empty() && beats_.front().until <= now) {
    return Fail(absl::DeadlineExceededError("no answer to a heartbeat"));
  }
  if (session_ == nullptr && pause_ == 0) Open();
  std::vector<Id> beats;
  std::vector<Id> now_due;
  for (const auto& [at, id] : due_) {
    if (at > now) break;
    now_due.push_back(id);
  }
  for (const Id id : now_due) {
    const auto found = leases_.find(id);
    if (found != leases_.end()) Step(id, found->second, now, &beats);
  }
  if (!IsNeeded()) return;
  SendBeats(beats, now);
  scheduler_.Cancel(std::exchange(timer_, 0));
  std::optional<base::SteadyTime> next;
  // While there is no session only the end of somebody's patience is of interest, and the pause has
  // its own timer.
  for (const auto& [at, id] : due_) {
    if (session_ == nullptr && !leases_.at(id).leaving) continue;
    next = at;
    break;
  }
  if (!beats_.empty()) next = std::min(next.value_or(beats_.front().until), beats_.front().until);
  if (next) timer_ = scheduler_.At(*next, [this] { timer_ = 0, Pump(); });
}

void Registrar::Step(Id id, Lease& lease, base::SteadyTime now, std::vector<Id>* beats) {
  if (lease.leaving) {
    if (lease.leaving->until <= now) {
      return EndLeaving(id, absl::DeadlineExceededError(absl::StrCat(
                                "the registry wasn't told: ", lease.leaving->why.message())));
    }
    if (session_ != nullptr) SendDeregister(id, lease, now);
    Reschedule(id, lease);
    return;
  }
  if (session_ == nullptr) return;
  switch (lease.keeper.Due(now)) {
    case LeaseKeeper::Step::kRegister:
      SendRegister(id, lease);
      break;
    case LeaseKeeper::Step::kBeat:
      beats->push_back(id);
      break;
    case LeaseKeeper::Step::kNothing:
      break;
  }
  Reschedule(id, lease);
}

void Registrar::SendBeats(const std::vector<Id>& ids, base::SteadyTime now) {
  for (size_t from = 0; from < ids.size(); from += kMaxBeats) {
    const size_t to = std::min(ids.size(), from + kMaxBeats);
    v1::HeartbeatRequest request;
    Beats beats{.until = now + options_.answer};
    for (size_t i = from; i < to; ++i) {
      const Lease& lease = leases_.at(ids[i]);
      beats.ids.push_back(ids[i]);
      request.add_lease_handles(lease.registered->lease_handle());
      beats.until = std::min(beats.until, now + std::max(lease.interval, kLeastAnswer));
    }
    // They are answered in order.
    if (!beats_.empty()) beats.until = std::max(beats.until, beats_.back().until);
    beats_.push_back(std::move(beats));
    session_->Beat(std::move(request));
  }
}

void Registrar::OnBeat(const v1::HeartbeatResponse& response) {
  Answered();
  if (beats_.empty()) return;
  const Beats beats = std::move(beats_.front());
  beats_.pop_front();
  const base::SteadyTime now = scheduler_.Now();
  for (size_t i = 0; i < beats.ids.size(); ++i) {
    const auto found = leases_.find(beats.ids[i]);
    if (found == leases_.end() || found->second.leaving || found->second.abandoned) continue;
    const int at = static_cast<int>(i);
    Lease& lease = found->second;
    lease.keeper.Beat(
        at < response.outcomes_size() ? OutcomeOf(response.outcomes(at)) : Outcome::kLoading, now);
    SendReports(found->first, lease);
    DrainAgain(found->first, lease);
    Reschedule(found->first, lease);
    Tell(lease);
  }
  Pump();
}

void Registrar::SendRegister(Id id, Lease& lease) {
  lease.registering = true;
  session_->Register(lease.request, options_.answer,
                     Posted<absl::StatusOr<v1::RegisterResponse>>(
                         [this, id](absl::StatusOr<v1::RegisterResponse> response) {
                           OnRegistered(id, std::move(response));
                         }));
}

void Registrar::OnRegistered(Id id, absl::StatusOr<v1::RegisterResponse> response) {
  if (!response.ok() && IsLoss(response.status())) return Fail(response.status());
  Answered();
  const auto found = leases_.find(id);
  if (found == leases_.end()) return;
  Lease& lease = found->second;
  lease.registering = false;
  const base::SteadyTime now = scheduler_.Now();
  if (response.ok()) {
    lease.interval = FromWire(response->heartbeat_interval());
    lease.registered = *std::move(response);
    lease.may_exist = false;
    lease.keeper.Registered(lease.registered->lease_handle(), lease.interval, now);
    // Of another incarnation the registry knows none of them.
    for (auto& [check_id, reported] : lease.reports) reported.sent = false;
    SendReports(id, lease);
    DrainAgain(id, lease);
  } else {
    const absl::Status& status = response.status();
    const absl::Status why(status.code(), Named(status));
    lease.keeper.NotRegistered(FailureOf(status), why, now);
    lease.may_exist |= ReasonOf(status) == "OUTCOME_UNKNOWN";
    if (lease.leaving) {
      const bool may_exist = lease.may_exist || lease.registered.has_value();
      const Failure failure = FailureOf(status);
      if (!may_exist || failure == Failure::kSuperseded) return EndLeaving(id, absl::OkStatus());
      // It may be there, and the registry hears of nothing.
      if (failure != Failure::kPassing) return EndLeaving(id, why);
      lease.leaving->why = why;
      lease.leaving->at = now + kLeaveAgain.Delay(lease.leaving->failures++, rng_);
    }
  }
  Reschedule(id, lease);
  if (!lease.abandoned) Tell(lease);
  Pump();
}

void Registrar::SendReports(Id id, Lease& lease) {
  if (session_ == nullptr || lease.keeper.phase() != Phase::kHeld) return;
  const base::SteadyTime now = scheduler_.Now();
  std::erase_if(lease.reports, [now](const auto& entry) { return entry.second.until < now; });
  for (auto& [check_id, reported] : lease.reports) {
    // One after the other, so that the latest one counts.
    if (reported.sent || reported.under_way) continue;
    reported.sent = reported.under_way = true;
    v1::ReportHealthRequest request;
    *request.mutable_key() = lease.registered->key();
    request.set_incarnation(lease.registered->incarnation());
    request.set_check_id(check_id);
    request.set_status(static_cast<v1::Health>(reported.report.health));
    request.set_output(reported.report.output);
    session_->ReportHealth(request, options_.answer,
                           Posted<absl::StatusOr<v1::ReportHealthResponse>>(
                               [this, id, check_id = check_id](
                                   const absl::StatusOr<v1::ReportHealthResponse>& response) {
                                 OnReported(id, check_id, response.status());
                               }));
  }
}

void Registrar::OnReported(Id id, const std::string& check_id, const absl::Status& status) {
  if (!status.ok() && IsLoss(status)) return Fail(status);
  Answered();
  const auto found = leases_.find(id);
  if (found == leases_.end()) return;
  const auto reported = found->second.reports.find(check_id);
  if (reported == found->second.reports.end()) return;
  reported->second.under_way = false;
  // A newer one came meanwhile.
  if (!reported->second.sent) return SendReports(id, found->second);
  // Whatever is wrong, the next confirmation sends it again, as long as it is fresh.
  if (!status.ok()) reported->second.sent = false;
}

void Registrar::SendDeregister(Id id, Lease& lease, base::SteadyTime now) {
  Leaving& leaving = *lease.leaving;
  // Of one that is being registered the incarnation isn't known yet.
  if (leaving.under_way || lease.registering || leaving.at > now) return;
  if (!lease.registered || lease.may_exist) return SendRegister(id, lease);
  leaving.under_way = true;
  v1::DeregisterRequest request;
  *request.mutable_key() = lease.registered->key();
  request.set_incarnation(lease.registered->incarnation());
  session_->Deregister(request, options_.answer,
                       Posted<absl::StatusOr<v1::DeregisterResponse>>(
                           [this, id](const absl::StatusOr<v1::DeregisterResponse>& response) {
                             OnDeregistered(id, response.status());
                           }));
}

void Registrar::OnDeregistered(Id id, const absl::Status& status) {
  if (IsLoss(status)) return Fail(status);
  Answered();
  const auto found = leases_.find(id);
  if (found == leases_.end()) return;
  Lease& lease = found->second;
  const bool is_gone =
      status.ok() || absl::IsNotFound(status) || FailureOf(status) == Failure::kSuperseded;
  // Nobody waits for it any more: it came too late.
  if (!lease.leaving) {
    if (is_gone) Forget(id);
    return;
  }
  if (is_gone) return EndLeaving(id, absl::OkStatus());
  Leaving& leaving = *lease.leaving;
  leaving.under_way = false;
  leaving.why = absl::Status(status.code(), Named(status));
  leaving.at = scheduler_.Now() + kLeaveAgain.Delay(leaving.failures++, rng_);
  Reschedule(id, lease);
  Pump();
}

void Registrar::Tell(Lease& lease) {
  State state{.state = StateOf(lease.keeper.phase()),
              .why = lease.keeper.why(),
              .confirmed = lease.keeper.confirmed()};
  if (lease.registered) {
    state.key = lease.registered->key();
    state.incarnation = lease.registered->incarnation();
  }
  lease.last = std::move(state);
  lease.told(lease.last);
}

}  // namespace muster::client

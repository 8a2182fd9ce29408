#include "client/lease/live_registration.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/text.h"
#include "client/pause.h"

namespace muster::client {
namespace {

using State = RegistrationStatus::State;

// For a registrar's thread that is busy, and to end the wait for one that is gone.
constexpr absl::Duration kGrace = absl::Milliseconds(500);
constexpr absl::Duration kLongest = absl::Hours(24 * 365);
// A registry without Drain: watchers hear of the removal within this, and end the calls that they
// have begun.
constexpr absl::Duration kUnacknowledged = absl::Seconds(1);

// A result that another thread brings.
template <typename Result>
class Promise {
 public:
  void Set(Result result) {
    base::MutexLock lock(mu_);
    result_ = std::move(result);
    is_set_.NotifyAll();
  }
  std::optional<Result> Await(absl::Duration within, const base::Clock& clock) {
    const base::SteadyTime end = clock.Steady() + within;
    base::MutexLock lock(mu_);
    while (!result_) {
      const absl::Duration left = end - clock.Steady();
      if (left <= absl::ZeroDuration()) break;
      is_set_.WaitFor(mu_, left);
    }
    return result_;
  }

 private:
  base::Mutex mu_;
  base::CondVar is_set_;
  std::optional<Result> result_ MUSTER_GUARDED_BY(mu_);
};

base::LogLevel LevelOf(State state) {
  if (state == State::kInvalid) return base::LogLevel::kError;
  return state == State::kHeld || state == State::kEnded ? base::LogLevel::kInfo
                                                         : base::LogLevel::kWarn;
}

std::string_view Words(State state) {
  switch (state) {
    case State::kPending:
      return "not registered yet";
    case State::kHeld:
      return "registered";
    case State::kLost:
      return "a registration isn't confirmed";
    case State::kSuperseded:
      return "another process has registered in its place";
    case State::kInvalid:
      return "the registry will not take a registration";
    case State::kEnded:
      return "deregistered";
  }
  return "";
}

absl::Duration Bounded(absl::Duration within) {
  return std::clamp(within, absl::ZeroDuration(), kLongest);
}

}  // namespace

std::string_view ToText(State state) {
  constexpr std::array<std::string_view, 6> kTexts = {"pending",    "held",    "lost",
                                                      "superseded", "invalid", "ended"};
  return kTexts[static_cast<size_t>(state)];
}

// What the registrar told last.
class LiveRegistration::Board {
 public:
  // `service`: for the log; "" = it isn't logged.
  Board(std::string service, std::function<void(const RegistrationStatus&)> on_change,
        Scheduler& callbacks, const base::Clock& clock)
      : service_(std::move(service)), callbacks_(callbacks), clock_(clock) {
    if (on_change) {
      listening_ = std::make_shared<Listening<RegistrationStatus>>(std::move(on_change));
    }
  }

  // By the registrar's thread.
  void Told(const Registrar::State& state) {
    if (!service_.empty()) Log(state);
    base::MutexLock lock(mu_);
    const bool changed = state.state != last_.state || state.why != last_.why ||
                         state.incarnation != last_.incarnation;
    last_ = state;
    if (!changed) return;
    changed_.NotifyAll();
    if (listening_ == nullptr || listening_->ended()) return;
    callbacks_.Post([listening = listening_, status = StatusNow()] { listening->Tell(status); });
  }
  void EndListening() {
    if (listening_ != nullptr) listening_->End(callbacks_.Runs());
  }

  RegistrationStatus status() const {
    base::MutexLock lock(mu_);
    return StatusNow();
  }
  absl::Status WaitUntilHeld(absl::Duration within) const {
    const base::SteadyTime end = clock_.Steady() + within;
    base::MutexLock lock(mu_);
    for (;;) {
      switch (last_.state) {
        case State::kHeld:
          return absl::OkStatus();
        case State::kSuperseded:
        case State::kInvalid:
          return last_.why;
        case State::kEnded:
          return absl::FailedPreconditionError("it was deregistered");
        default:
          break;
      }
      const absl::Duration left = end - clock_.Steady();
      if (left <= absl::ZeroDuration()) {
        return absl::DeadlineExceededError(
            absl::StrCat("not registered yet: ", last_.why.message()));
      }
      changed_.WaitFor(mu_, left);
    }
  }

  Registrar::Id id = 0;  // the registrar's thread's

 private:
  // Another reason of the same kind is nothing new.
  void Log(const Registrar::State& state) {
    const std::pair kind(state.state, state.why.code());
    if (logged_ == kind) return;
    logged_ = kind;
    const base::LogLevel level = LevelOf(state.state);
    if (state.why.ok()) {
      base::Log(level, Words(state.state), {{"service", service_}, {"id", state.key.id()}});
    } else {
      base::Log(level, Words(state.state),
                {{"service", service_}, {"id", state.key.id()}, {"why", state.why.ToString()}});
    }
  }

  RegistrationStatus StatusNow() const MUSTER_REQUIRES(mu_) {
    RegistrationStatus status{.state = last_.state, .why = last_.why};
    if (last_.confirmed) {
      status.unconfirmed = std::max(clock_.Steady() - *last_.confirmed, absl::ZeroDuration());
    }
    status.id = last_.key.id();
    status.incarnation = last_.incarnation;
    return status;
  }

  const std::string service_;
  std::optional<std::pair<State, absl::StatusCode>> logged_;  // the registrar's thread's
  Scheduler& callbacks_;
  const base::Clock& clock_;
  std::shared_ptr<Listening<RegistrationStatus>> listening_;
  mutable base::Mutex mu_;
  mutable base::CondVar changed_;
  Registrar::State last_ MUSTER_GUARDED_BY(mu_) = {
      .why = absl::UnavailableError("the registry has not answered yet")};
};

LiveRegistration::LiveRegistration(Parts parts, v1::RegisterRequest request,
                                   std::vector<TtlCheck> checks, RegisterOptions options)
    : parts_(std::move(parts)),
      options_(std::move(options)),
      checks_(std::make_shared<const std::vector<TtlCheck>>(std::move(checks))),
      board_(std::make_shared<Board>(options_.log ? request.instance().service() : "",
                                     options_.on_change, parts_.callbacks, parts_.clock)) {
  parts_.work.Post([board = board_, &registrar = parts_.registrar, request = std::move(request)] {
    board->id = registrar.Add(request, [board](const auto& state) { board->Told(state); });
  });
  for (const TtlCheck& check : *checks_) {
    if (!check.probe) continue;
    if (probes_ == nullptr) probes_ = parts_.new_scheduler();
    probes_->Post([this, &check, keep = checks_] { Probe(check); });
  }
  if (options_.deregister_on_sigterm) {
    on_termination_ = std::make_unique<OnTermination>([this]() -> std::function<void()> {
      return [wait = DrainAndLeave()] { wait().IgnoreError(); };
    });
  }
}

LiveRegistration::~LiveRegistration() {
  on_termination_ = nullptr;
  // First of all, so that a probe which takes its time doesn't keep it registered.
  if (options_.deregister) DrainAndLeave()().IgnoreError();
  parts_.work.Post([board = board_, &registrar = parts_.registrar] {
    registrar.Leave(board->id, absl::ZeroDuration(), [](const absl::Status&) {});
    registrar.Forget(board->id);
  });
  if (probes_ != nullptr) probes_->Stop();
  exists_ = nullptr;
  board_->EndListening();
}

RegistrationStatus LiveRegistration::status() const { return board_->status(); }

absl::Status LiveRegistration::WaitUntilHeld(absl::Duration within) {
  return board_->WaitUntilHeld(Bounded(within));
}

absl::Status LiveRegistration::Report(std::string_view check_id, HealthReport report) {
  const auto check = std::find_if(checks_->begin(), checks_->end(),
                                  [&](const TtlCheck& one) { return one.id == check_id; });
  if (check == checks_->end()) {
    return absl::NotFoundError(
        absl::StrCat("the instance has no ttl check ", base::Quoted(check_id)));
  }
  if (!base::IsUtf8(report.output)) report.output = base::EscapeForTerminal(report.output);
  parts_.work.Post([board = board_, &registrar = parts_.registrar, id = check->id, ttl = check->ttl,
                    report = std::move(report)] { registrar.Report(board->id, id, report, ttl); });
  return absl::OkStatus();
}

void LiveRegistration::Probe(const TtlCheck& check) {
  const std::weak_ptr<Exists> exists = exists_;
  HealthReport report = check.probe();
  // It may have been destroyed by the probe.
  if (exists.expired()) return;
  Report(check.id, std::move(report)).IgnoreError();
  probes_->At(probes_->Now() + check.ttl / 3 * (0.8 + 0.2 * rng_.Unit()),
              [this, &check, keep = checks_] { Probe(check); });
}

absl::StatusOr<Registration::Drained> LiveRegistration::Drain(absl::Duration within) {
  within = std::min(Bounded(within), Registrar::kLongestDrain);
  const base::SteadyTime end = parts_.clock.Steady() + within;
  const uint64_t incarnation = board_->status().incarnation;
  auto promise = std::make_shared<Promise<absl::StatusOr<v1::DrainResponse>>>();
  parts_.work.Post([board = board_, &registrar = parts_.registrar, within, promise] {
    registrar.Drain(board->id, within, [promise](absl::StatusOr<v1::DrainResponse> response) {
      promise->Set(std::move(response));
    });
  });
  const auto response = promise->Await(within + kGrace, parts_.clock);
  if (!response) return absl::DeadlineExceededError("the registry didn't answer");
  if (response->ok()) {
    drained_ = incarnation;
    return Drained{(*response)->eligible(), (*response)->acked()};
  }
  if (!absl::IsUnimplemented(response->status())) return response->status();
  absl::Status left = Deregister(std::max(end - parts_.clock.Steady(), options_.leave_within));
  if (!left.ok()) return left;
  Pause(std::min(end - parts_.clock.Steady(), kUnacknowledged), parts_.clock);
  return Drained{};
}

std::function<absl::Status()> LiveRegistration::Leave(absl::Duration within) {
  within = Bounded(within);
  auto promise = std::make_shared<Promise<absl::Status>>();
  parts_.work.Post([board = board_, &registrar = parts_.registrar, within, promise] {
    registrar.Leave(board->id, within,
                    [promise](const absl::Status& status) { promise->Set(status); });
  });
  return [promise, within, &clock = parts_.clock]() -> absl::Status {
    return promise->Await(within + kGrace, clock)
        .value_or(absl::DeadlineExceededError("the client didn't get to it"));
  };
}

std::function<absl::Status()> LiveRegistration::DrainAndLeave() {
  const absl::Duration drain = std::min(Bounded(options_.drain), Registrar::kLongestDrain);
  const absl::Duration within = Bounded(options_.leave_within);
  const RegistrationStatus now = board_->status();
  // This client may be among those who have to confirm, and does it behind its callbacks.
  if (drain == absl::ZeroDuration() || drained_ == now.incarnation || parts_.callbacks.Runs() ||
      now.state != State::kHeld) {
    return Leave(within);
  }
  auto promise = std::make_shared<Promise<absl::Status>>();
  parts_.work.Post([board = board_, &registrar = parts_.registrar, &work = parts_.work, drain,
                    within, promise] {
    const auto timer = std::make_shared<Scheduler::Timer>();
    const auto leave = [board, &registrar, &work, within, promise, timer] {
      work.Cancel(*timer);
      registrar.Leave(board->id, within,
                      [promise](const absl::Status& status) { promise->Set(status); });
    };
    // For a registry that doesn't answer.
    *timer = work.At(work.Now() + drain + kGrace, leave);
    registrar.Drain(board->id, drain,
                    [&work, leave](const absl::StatusOr<v1::DrainResponse>&) { work.Post(leave); });
  });
  return [promise, most = drain + within + 2 * kGrace, &clock = parts_.clock]() -> absl::Status {
    return promise->Await(most, clock)
        .value_or(absl::DeadlineExceededError("the client didn't get to it"));
  };
}

absl::Status LiveRegistration::Deregister(absl::Duration within) { return Leave(within)(); }

}  // namespace muster::client

#include "server/health/grpc_run.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "server/health/output.h"

namespace muster::health {
namespace {

// Between two statuses of a watch: a target that floods us is slowed down.
constexpr auto kPause = std::chrono::milliseconds(50);

// A connection that is there for the first time has had the target's HTTP/2 settings. Of an old one
// nobody knows.
bool IsNewlyConnected(grpc::Channel* channel, bool fresh) {
  return fresh && channel != nullptr && channel->GetState(false) == GRPC_CHANNEL_READY;
}

// The end of a connection that was kept, which gRPC reports as if the target had answered it, says
// that the target was restarted, or that something between us forgot it: a new one is to tell.
bool TakesNewConnection(const GrpcAnswer& answer, bool fresh) {
  return !fresh && answer.status.error_code() == grpc::StatusCode::UNAVAILABLE;
}

ProbeResult NoRoom() {
  return {ProbeResult::Outcome::kNotRun, false,
          "no file descriptor is left for the connection of another grpc check"};
}

}  // namespace

GrpcRun::GrpcRun(std::shared_ptr<GrpcCheck> check, ProbeDone done)
    : Run(check->environment, check->plan.target, check->plan.timeout, std::move(done)),
      check_(std::move(check)) {}

void GrpcRun::Try(const boost::asio::ip::tcp::endpoint& endpoint) {
  NowDoing("waiting for the answer to Check of", peer());
  endpoint_ = endpoint;
  channel_ = check_->channel.To(endpoint, target_, fresh_);
  if (channel_ == nullptr) return Finish(NoRoom());
  call_ = CallCheck(environment_, channel_, check_->plan.service,
                    [self = Self()](const GrpcAnswer& answer, int serving) {
                      if (!self->over()) self->OnAnswer(answer, serving);
                    });
}

void GrpcRun::AbandonTry() { call_->Cancel(); }

void GrpcRun::OnAnswer(const GrpcAnswer& answer, int serving) {
  if (answer.status.ok()) return Finish(JudgeServing(serving, check_->plan.service));
  if (TakesNewConnection(answer, fresh_)) {
    check_->channel.Drop();
    return Try(endpoint_);
  }
  ProbeResult result = JudgeFailure(answer, check_->plan.service, peer());
  if (!answer.from_target) {
    check_->channel.Drop();
    if (TryNext()) return;
  }
  Finish(std::move(result));
}

void GrpcRun::OnTimeout() {
  const bool reached = IsNewlyConnected(channel_.get(), fresh_);
  check_->channel.Drop();
  Finish(Failing(reached, TimeoutMessage()));
}

void GrpcRun::Release() {
  check_->channel.Keep();
  if (call_ != nullptr) std::exchange(call_, nullptr)->Cancel();
  channel_.reset();
}

GrpcWatchRun::GrpcWatchRun(std::shared_ptr<GrpcCheck> check, WatchCallbacks callbacks)
    : Run(check->environment, check->plan.target, check->plan.timeout,
          [this, on_end = std::move(callbacks.on_end)](ProbeResult result) {
            on_end({cause_, std::move(result)});
          }),
      check_(std::move(check)),
      on_status_(std::move(callbacks.on_status)),
      pause_(environment_.loop) {}

void GrpcWatchRun::Try(const boost::asio::ip::tcp::endpoint& endpoint) {
  NowDoing("waiting for the first status from", peer());
  endpoint_ = endpoint;
  channel_ = check_->channel.To(endpoint, target_, fresh_);
  if (channel_ == nullptr) return End(WatchEnd::Cause::kFailed, NoRoom());
  const auto guarded = [self = Self()](auto method) {
    return [self, method](const auto& what) {
      if (!self->over()) (self.get()->*method)(what);
    };
  };
  watch_ = CallWatch(
      environment_, channel_, check_->plan.service,
      {.on_status = guarded(&GrpcWatchRun::OnStatus), .on_end = guarded(&GrpcWatchRun::OnEnd)});
}

void GrpcWatchRun::AbandonTry() { watch_->Cancel(); }

void GrpcWatchRun::OnStatus(int serving) {
  if (!check_->channel.Keep()) return End(WatchEnd::Cause::kUnsupported, NoRoom());
  KeepToThis();
  OnSignOfLife();
  NextStatusAfterPause();
  on_status_(JudgeServing(serving, check_->plan.service));
}

void GrpcWatchRun::NextStatusAfterPause() {
  pause_.expires_after(kPause);
  pause_.async_wait([self = Self()](boost::system::error_code error) {
    if (!error && !self->over()) self->watch_->Next();
  });
}

void GrpcWatchRun::OnEnd(const GrpcAnswer& answer) {
  if (IsUnimplemented(answer)) {
    return End(WatchEnd::Cause::kUnsupported, JudgeFailure(answer, check_->plan.service, peer()));
  }
  const bool given = awaiting_ != Awaiting::kFirstStatus;
  if (!given && TakesNewConnection(answer, fresh_)) {
    check_->channel.Drop();
    return Try(endpoint_);
  }
  if (!answer.from_target) {
    check_->channel.Drop();
    if (!given && TryNext()) return;
  }
  ProbeResult result = answer.status.ok()
                           ? Failing(true, absl::StrCat(peer(), " ended the watch",
                                                        given ? "" : " without a status"))
                           : JudgeFailure(answer, check_->plan.service, peer());
  End(given ? WatchEnd::Cause::kLost : WatchEnd::Cause::kFailed, std::move(result));
}

void GrpcWatchRun::OnSignOfLife() {
  // One that was asked for isn't needed any more.
  ++pulses_;
  if (pulse_ != nullptr) std::exchange(pulse_, nullptr)->Cancel();
  awaiting_ = Awaiting::kChange;
  Extend(check_->plan.interval);
}

void GrpcWatchRun::AskForSignOfLife() {
  awaiting_ = Awaiting::kSignOfLife;
  Extend(timeout_);
  pulse_ = CallCheck(environment_, channel_, check_->plan.service,
                     [self = Self(), nth = ++pulses_](const GrpcAnswer& answer, int /*serving*/) {
                       if (self->over() || nth != self->pulses_) return;
                       // Otherwise the watch itself ends, or the time does.
                       if (!answer.from_target) return;
                       self->signs_ = true;
                       self->OnSignOfLife();
                     });
}

void GrpcWatchRun::OnTimeout() {
  switch (awaiting_) {
    case Awaiting::kFirstStatus: {
      const bool reached = IsNewlyConnected(channel_.get(), fresh_);
      check_->channel.Drop();
      return End(WatchEnd::Cause::kFailed, Failing(reached, TimeoutMessage()));
    }
    case Awaiting::kChange:
      return AskForSignOfLife();
    case Awaiting::kSignOfLife:
      check_->channel.Drop();
      // A target that allows one call at a time on a connection gives none either.
      return End(signs_ ? WatchEnd::Cause::kFailed : WatchEnd::Cause::kLost,
                 Failing(false, absl::StrCat(peer(), " gave no sign of life for ",
                                             base::FormatDuration(timeout_))));
  }
}

void GrpcWatchRun::End(WatchEnd::Cause cause, ProbeResult result) {
  cause_ = cause;
  Finish(std::move(result));
}

void GrpcWatchRun::Release() {
  check_->channel.Keep();
  pause_.cancel();
  if (watch_ != nullptr) std::exchange(watch_, nullptr)->Cancel();
  if (pulse_ != nullptr) std::exchange(pulse_, nullptr)->Cancel();
  channel_.reset();
}

}  // namespace muster::health

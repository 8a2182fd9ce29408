#include "client/cli/stream_keeper.h"

#include <grpcpp/support/status.h>

#include <algorithm>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "base/backoff.h"

namespace muster::cli {
namespace {

constexpr absl::Duration kLeastDelay = absl::Milliseconds(50);

// What a server says when the same call may well succeed later, or elsewhere.
bool Passing(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kResourceExhausted:
      return true;
    default:
      return false;
  }
}

}  // namespace

StreamKeeper::StreamKeeper(Context& context, Interrupt& interrupt, Options options)
    : context_(context), interrupt_(interrupt), options_(options), began_(context.clock.Steady()) {}

absl::Status StreamKeeper::Run(const Connection::Rpc& once) {
  const base::Backoff backoff{absl::Milliseconds(200), absl::Seconds(2)};
  for (;;) {
    absl::Status status = context_.connection->CallStream(once, Left());
    if (done_ || interrupt_.came()) return absl::OkStatus();
    if (Over(status)) return absl::DeadlineExceededError("the time is over");
    if (!MayTryAgain(status)) return status;
    if (status.ok()) {
      status = absl::UnavailableError(
          absl::StrCat(context_.connection->address(), ": the server ended the stream"));
    }
    SayLost(status);
    context_.connection->Rotate();
    const absl::Duration delay = kLeastDelay + backoff.Delay(failures_++, context_.rng);
    if (interrupt_.WaitFor(std::min(delay, Left()))) return absl::OkStatus();
    if (Over(absl::OkStatus())) return absl::DeadlineExceededError("the time is over");
  }
}

void StreamKeeper::Alive() {
  lost_ = absl::OkStatus();
  ever_alive_ = true;
  said_ = false;
  failures_ = 0;
}

absl::Duration StreamKeeper::Left() const {
  if (options_.within == absl::InfiniteDuration()) return options_.within;
  return options_.within - (context_.clock.Steady() - began_);
}

bool StreamKeeper::Over(const absl::Status& status) const {
  if (options_.within == absl::InfiniteDuration()) return false;
  return absl::IsDeadlineExceeded(status) || Left() <= absl::ZeroDuration();
}

bool StreamKeeper::MayTryAgain(const absl::Status& status) {
  if (!Passing(status)) return false;
  return ever_alive_ || options_.patient ||
         failures_ + 1 < static_cast<int>(context_.connection->servers());
}

void StreamKeeper::SayLost(const absl::Status& status) {
  lost_ = status;
  if (said_) return;
  said_ = true;
  context_.Note(absl::StrCat(ever_alive_ ? "lost " : "", status.message(),
                             ever_alive_ ? "; resuming" : "; trying again"));
}

}  // namespace muster::cli

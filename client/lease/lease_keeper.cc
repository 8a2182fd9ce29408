#include "client/lease/lease_keeper.h"

#include <utility>

namespace muster::client {

LeaseKeeper::Step LeaseKeeper::Due(base::SteadyTime now) {
  if (under_way_ != Step::kNothing || wanted_ == Step::kNothing || at_ > now) {
    return Step::kNothing;
  }
  under_way_ = wanted_;
  return under_way_;
}

std::optional<base::SteadyTime> LeaseKeeper::next() const {
  if (under_way_ != Step::kNothing || wanted_ == Step::kNothing) return std::nullopt;
  return at_;
}

void LeaseKeeper::End(Phase phase, absl::Status why) {
  phase_ = phase;
  why_ = std::move(why);
  wanted_ = Step::kNothing;
}

void LeaseKeeper::Lose(absl::Status why) {
  if (phase_ == Phase::kHeld) phase_ = Phase::kLost;
  why_ = std::move(why);
}

void LeaseKeeper::Confirm(base::SteadyTime now) {
  phase_ = Phase::kHeld;
  why_ = absl::OkStatus();
  confirmed_ = now;
  failures_ = 0;
  dropped_ = false;
  wanted_ = interval_ > absl::ZeroDuration() ? Step::kBeat : Step::kNothing;
  // Not all of a fleet that began together at once.
  at_ = now + interval_ * (0.8 + 0.2 * rng_.Unit());
}

void LeaseKeeper::Registered(uint64_t handle, absl::Duration interval, base::SteadyTime now) {
  under_way_ = Step::kNothing;
  handle_ = handle;
  interval_ = interval;
  Confirm(now);
}

void LeaseKeeper::NotRegistered(Failure failure, absl::Status why, base::SteadyTime now) {
  under_way_ = Step::kNothing;
  switch (failure) {
    case Failure::kInvalid:
      return End(Phase::kInvalid, std::move(why));
    case Failure::kSuperseded:
      return End(Phase::kSuperseded, std::move(why));
    case Failure::kRefused:
      Lose(std::move(why));
      at_ = now + options_.refused * (1 + rng_.Unit()) / 2;
      return;
    case Failure::kPassing:
      Lose(std::move(why));
      at_ = now + options_.retry.Delay(failures_++, rng_);
      return;
  }
}

void LeaseKeeper::Beat(Outcome outcome, base::SteadyTime now) {
  if (under_way_ != Step::kBeat) return;
  under_way_ = Step::kNothing;
  switch (outcome) {
    case Outcome::kRenewed:
      return Confirm(now);
    case Outcome::kStale:
      return End(Phase::kSuperseded,
                 absl::AbortedError("another process registered under this key"));
    case Outcome::kLoading:
      at_ = now + options_.loading * (1 + rng_.Unit()) / 2;
      return;
    case Outcome::kUnknown:
      Lose(absl::NotFoundError("the registry doesn't have it any more"));
      wanted_ = Step::kRegister;
      at_ = dropped_ ? now + options_.spread * rng_.Unit() : now;
      return;
  }
}

void LeaseKeeper::Dropped(absl::Status why, base::SteadyTime now) {
  under_way_ = Step::kNothing;
  if (over()) return;
  dropped_ = true;
  Lose(std::move(why));
  if (wanted_ == Step::kNothing) {
    // Without a lease there is nothing to ask by.
    wanted_ = Step::kRegister;
    at_ = now + options_.spread * rng_.Unit();
    return;
  }
  // Another server may not know of it: it is told at the first opportunity. One that is to be
  // registered again anyway keeps its turn.
  if (at_ <= now || wanted_ == Step::kBeat) at_ = now + options_.retry.Delay(0, rng_);
}

}  // namespace muster::client

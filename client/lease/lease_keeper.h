// One registration for life: when to register, when to heartbeat, when to stop. Knows no network;
// time is passed in.
//
//   LeaseKeeper keeper(rng);
//   while (…) {
//     switch (keeper.Due(now)) {
//       case LeaseKeeper::Step::kRegister: … call Register, then Registered() or Refused() …
//       case LeaseKeeper::Step::kBeat:     … send the handle, then Beat() …
//       case LeaseKeeper::Step::kNothing:  … until keeper.next() …
//     }
//   }
//
// A lease that the server doesn't have is registered again: at once when only this one was lost,
// and spread over `spread` when the stream had been lost before, since all that the server forgot
// come back then.
//
// Thread safety: none. Pure, but for the rng. Units: durations of the steady clock.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/backoff.h"
#include "base/clock.h"
#include "base/rng.h"

namespace muster::client {

class LeaseKeeper {
 public:
  struct Options {
    base::Backoff retry{absl::Milliseconds(200), absl::Seconds(5)};
    absl::Duration spread = absl::Seconds(5);
    // What the server refuses is asked for again after half to all of this: rights may come.
    absl::Duration refused = absl::Seconds(30);
    absl::Duration loading = absl::Seconds(1);
  };
  enum class Phase : uint8_t {
    kPending,     // never confirmed yet
    kHeld,        // the server has it
    kLost,        // the server had it; whether it still does isn't known, or it doesn't
    kSuperseded,  // another process registered under this key: the end
    kInvalid,     // the server will never take it: the end
  };
  enum class Step : uint8_t { kNothing, kRegister, kBeat };
  enum class Outcome : uint8_t { kRenewed, kUnknown, kStale, kLoading };
  // How a Register failed.
  enum class Failure : uint8_t {
    kPassing,     // the same call may succeed later, or elsewhere
    kRefused,     // not as things are: rights, limits, a name that is taken
    kInvalid,     // never
    kSuperseded,  // a later life has the key
  };

  LeaseKeeper(base::Rng& rng, Options options) : rng_(rng), options_(options) {}

  // What is to be done now. A step that was given is under way until its result comes, or Dropped.
  Step Due(base::SteadyTime now);
  // When Due may give a step; nullopt: not before something comes.
  std::optional<base::SteadyTime> next() const;

  // `interval`: how often to heartbeat; 0 = never: it has no lease.
  void Registered(uint64_t handle, absl::Duration interval, base::SteadyTime now);
  void NotRegistered(Failure failure, absl::Status why, base::SteadyTime now);
  void Beat(Outcome outcome, base::SteadyTime now);
  // What was under way has no result: its stream or server was lost. Whoever opens the next one
  // makes the pause between tries.
  void Dropped(absl::Status why, base::SteadyTime now);

  Phase phase() const { return phase_; }
  // Why it isn't held; OK when it is.
  const absl::Status& why() const { return why_; }
  uint64_t handle() const { return handle_; }
  // When the server last said that it has it.
  std::optional<base::SteadyTime> confirmed() const { return confirmed_; }

 private:
  bool over() const { return phase_ == Phase::kSuperseded || phase_ == Phase::kInvalid; }
  void End(Phase phase, absl::Status why);
  void Lose(absl::Status why);
  void Confirm(base::SteadyTime now);

  base::Rng& rng_;
  const Options options_;
  Phase phase_ = Phase::kPending;
  absl::Status why_ = absl::UnavailableError("not registered yet");
  Step wanted_ = Step::kRegister;
  Step under_way_ = Step::kNothing;
  base::SteadyTime at_{};  // of what is wanted
  uint64_t handle_ = 0;
  absl::Duration interval_;
  std::optional<base::SteadyTime> confirmed_;
  int failures_ = 0;      // in a row
  bool dropped_ = false;  // since it was confirmed last
};

}  // namespace muster::client

// The application's handle of one registration: passes what it wants to the registrar's thread, and
// what comes back to the threads that wait and to its callback. Runs its probes.
//
// Thread safety: all members. Waits are bounded also where the registrar's thread is gone (a child
// of fork).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/rng.h"
#include "client/lease/registrar.h"
#include "client/listening.h"
#include "client/scheduler.h"
#include "client/termination.h"
#include "muster/client/registration.h"

namespace muster::client {

class LiveRegistration : public Registration {
 public:
  // What it stands on. REQUIRES: `owner` keeps the others alive.
  struct Parts {
    std::shared_ptr<void> owner;
    Registrar& registrar;
    Scheduler& work;       // the registrar's
    Scheduler& callbacks;  // where the application's code runs
    const base::Clock& clock;
    // For the probes; called once at most.
    std::function<std::unique_ptr<Scheduler>()> new_scheduler;
  };

  LiveRegistration(Parts parts, v1::RegisterRequest request, std::vector<TtlCheck> checks,
                   RegisterOptions options);
  ~LiveRegistration() override;

  RegistrationStatus status() const override;
  absl::Status WaitUntilHeld(absl::Duration within) override;
  absl::Status Report(std::string_view check_id, HealthReport report) override;
  absl::StatusOr<Drained> Drain(absl::Duration within) override;
  absl::Status Deregister(absl::Duration within) override;

 private:
  class Board;
  struct Exists {};  // as long as the registration does
  // Begins it; what it returns waits for the result.
  std::function<absl::Status()> Leave(absl::Duration within);
  // The same: drained first, if that is wanted and hasn't been done.
  std::function<absl::Status()> DrainAndLeave();
  void Probe(const TtlCheck& check);

  const Parts parts_;
  const RegisterOptions options_;
  const std::shared_ptr<const std::vector<TtlCheck>> checks_;  // probes run on with it
  const std::shared_ptr<Board> board_;
  std::atomic<uint64_t> drained_{0};  // the incarnation that was
  std::shared_ptr<Exists> exists_ = std::make_shared<Exists>();
  base::SystemRng rng_;
  std::unique_ptr<Scheduler> probes_;
  std::unique_ptr<OnTermination> on_termination_;
};

}  // namespace muster::client

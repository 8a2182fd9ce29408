// Ticker: one thread that runs jobs at their periods, in turn. A job is due at the multiples of its
// period on the steady clock, so that jobs wake the thread together.
//
//   Ticker ticker(clock, {{absl::Milliseconds(100), [&] { leases.Tick(); }}});
//
// Thread safety: the jobs run on the ticker's thread, one after another. Stop() joins; idempotent.
// A job that is late runs once, not once for each period missed.
#pragma once

#include <functional>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/thread.h"

namespace muster::app {

class Ticker {
 public:
  struct Job {
    absl::Duration period;
    std::function<void()> run;
    // Comes again after `busy_period` already when `busy` says so after a run. Null: never.
    std::function<bool()> busy{};
    absl::Duration busy_period{};
  };
  // REQUIRES: periods of at least a microsecond. `clock` is the machine's: the thread really waits.
  Ticker(const base::Clock& clock, std::vector<Job> jobs);
  ~Ticker() { Stop(); }

  void Stop();

 private:
  void Run();

  const base::Clock& clock_;
  const std::vector<Job> jobs_;
  base::Mutex mu_;
  base::CondVar wake_;
  bool stopped_ MUSTER_GUARDED_BY(mu_) = false;
  base::NamedThread thread_;
};

}  // namespace muster::app

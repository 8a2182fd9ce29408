#include "server/app/ticker.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace muster::app {
namespace {

// The first one after `now`.
base::SteadyTime NextMultiple(base::SteadyTime now, absl::Duration period) {
  const int64_t us = absl::ToInt64Microseconds(period);
  return {(now.us / us + 1) * us};
}

}  // namespace

Ticker::Ticker(const base::Clock& clock, std::vector<Job> jobs)
    : clock_(clock), jobs_(std::move(jobs)), thread_("muster-ticker", [this] { Run(); }) {}

void Ticker::Stop() {
  {
    base::MutexLock lock(mu_);
    stopped_ = true;
  }
  wake_.NotifyAll();
  thread_.Join();
}

void Ticker::Run() {
  std::vector<base::SteadyTime> due;
  for (const Job& job : jobs_) due.push_back(NextMultiple(clock_.Steady(), job.period));
  for (;;) {
    const base::SteadyTime next = *std::min_element(due.begin(), due.end());
    {
      base::MutexLock lock(mu_);
      while (!stopped_ && clock_.Steady() < next) wake_.WaitFor(mu_, next - clock_.Steady());
      if (stopped_) return;
    }
    for (size_t i = 0; i < jobs_.size(); ++i) {
      if (clock_.Steady() < due[i]) continue;
      jobs_[i].run();
      const bool busy = jobs_[i].busy && jobs_[i].busy();
      const base::SteadyTime now = clock_.Steady();
      due[i] = busy ? now + jobs_[i].busy_period : NextMultiple(now, jobs_[i].period);
    }
  }
}

}  // namespace muster::app

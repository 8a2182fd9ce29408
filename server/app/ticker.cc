#include "server/app/ticker.h"

#include <algorithm>
#include <utility>

namespace muster::app {

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
  for (const Job& job : jobs_) due.push_back(clock_.Steady() + job.period);
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
      due[i] = clock_.Steady() + (busy ? jobs_[i].busy_period : jobs_[i].period);
    }
  }
}

}  // namespace muster::app

#include "client/pause.h"

#include "base/mutex.h"

namespace muster::client {

void Pause(absl::Duration duration, const base::Clock& clock) {
  base::Mutex mu;
  base::CondVar never;
  const base::SteadyTime end = clock.Steady() + duration;
  base::MutexLock lock(mu);
  for (;;) {
    const absl::Duration left = end - clock.Steady();
    if (left <= absl::ZeroDuration()) return;
    never.WaitFor(mu, left);
  }
}

}  // namespace muster::client

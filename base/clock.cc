#include "base/clock.h"

#include <chrono>

namespace muster::base {
namespace {

template <typename ChronoClock>
int64_t MicrosNow() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             ChronoClock::now().time_since_epoch())
      .count();
}

class MachineClock : public Clock {
 public:
  SteadyTime Steady() const override { return {MicrosNow<std::chrono::steady_clock>()}; }
  SystemTime System() const override { return {MicrosNow<std::chrono::system_clock>()}; }
};

}  // namespace

const Clock& RealClock() {
  static const MachineClock clock;
  return clock;
}

}  // namespace muster::base

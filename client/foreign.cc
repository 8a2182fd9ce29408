#include "client/foreign.h"

#include <utility>

#include "base/clock.h"
#include "client/loop.h"

namespace muster::client {

thread_local bool Foreign::is_ = false;

void Foreign::RunOutside(std::function<void()> task) {
  static Loop& loop = *new Loop("muster-release", base::RealClock());
  loop.Post(std::move(task));
}

}  // namespace muster::client

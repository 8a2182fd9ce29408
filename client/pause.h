// Waits for nothing but time.
//
// Thread safety: pure.
#pragma once

#include "absl/time/time.h"
#include "base/clock.h"

namespace muster::client {

// Not at all when it is 0 or below.
void Pause(absl::Duration duration, const base::Clock& clock = base::RealClock());

}  // namespace muster::client

// Requests about the fixture's instances that more than one program makes.
//
//   load.request = Rewrites(100'000, 10'000);
//
// Thread safety: what they return may be called from several threads. They keep what they need.
#pragma once

#include <cstddef>

#include "tests/bench/load.h"

namespace muster::bench {

// Register of the instances 0…instances - 1, again and again. Each changes the instance: its port
// is another one each time around, the first time not that of Fill. Goes on where it was over all
// loads that it is given to.
MakeRequest Rewrites(size_t instances, size_t services);

// Discover of a random one of the services.
MakeRequest DiscoverAny(size_t services);

}  // namespace muster::bench

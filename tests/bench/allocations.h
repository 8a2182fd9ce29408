// How often the calling thread has asked for memory, by operator new.
#pragma once

#include <cstdint>

namespace muster::bench {

uint64_t AllocationsOfThread();

}  // namespace muster::bench

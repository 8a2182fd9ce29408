#include "base/rng.h"

#include <sys/random.h>

#include <cstdlib>

namespace muster::base {

uint64_t SystemRng::Next() {
  uint64_t value = 0;
  // Eight bytes are never cut short once the kernel's pool is ready.
  if (getrandom(&value, sizeof value, 0) != sizeof value) std::abort();
  return value;
}

uint64_t SeededRng::Next() {
  uint64_t z = (state_ += 0x9E3779B97F4A7C15ULL);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

}  // namespace muster::base

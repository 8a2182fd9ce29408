// The seam to time. Steady and system time are different types, so they can't be mixed up.
//
// Thread safety: all members. Units: microseconds.
#pragma once

#include <compare>
#include <cstdint>

#include "absl/time/time.h"

namespace muster::base {

// Since some fixed point of this boot; never goes back.
struct SteadyTime {
  int64_t us = 0;
  friend auto operator<=>(const SteadyTime&, const SteadyTime&) = default;
};

// Since 1970, as the machine believes.
struct SystemTime {
  int64_t us = 0;
  friend auto operator<=>(const SystemTime&, const SystemTime&) = default;
};

inline SteadyTime operator+(SteadyTime t, absl::Duration d) {
  return {t.us + absl::ToInt64Microseconds(d)};
}
inline SteadyTime operator-(SteadyTime t, absl::Duration d) {
  return {t.us - absl::ToInt64Microseconds(d)};
}
inline absl::Duration operator-(SteadyTime a, SteadyTime b) {
  return absl::Microseconds(a.us - b.us);
}
inline SystemTime operator+(SystemTime t, absl::Duration d) {
  return {t.us + absl::ToInt64Microseconds(d)};
}
inline SystemTime operator-(SystemTime t, absl::Duration d) {
  return {t.us - absl::ToInt64Microseconds(d)};
}
inline absl::Duration operator-(SystemTime a, SystemTime b) {
  return absl::Microseconds(a.us - b.us);
}

class Clock {
 public:
  virtual ~Clock() = default;
  virtual SteadyTime Steady() const = 0;
  virtual SystemTime System() const = 0;
};

// The machine's clocks.
const Clock& RealClock();

}  // namespace muster::base

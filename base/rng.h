// The seam to chance.
#pragma once

#include <cstdint>

namespace muster::base {

class Rng {
 public:
  virtual ~Rng() = default;
  // 64 random bits.
  virtual uint64_t Next() = 0;
  // In [0, n). REQUIRES: n > 0. The bias is below n / 2^64.
  uint64_t Uniform(uint64_t n) { return Next() % n; }
  // In [0, 1).
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }
};

// From the operating system, unpredictable. Thread-safe.
class SystemRng : public Rng {
 public:
  uint64_t Next() override;
};

// The same sequence for the same seed (SplitMix64). Not thread-safe.
class SeededRng : public Rng {
 public:
  explicit SeededRng(uint64_t seed) : state_(seed) {}
  uint64_t Next() override;

 private:
  uint64_t state_;
};

}  // namespace muster::base

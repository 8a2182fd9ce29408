// How many calls may be tried again: a share of those that are made, so that servers which fail get
// little more than without. Each call puts `share` of a retry in, at most those of `kept` retries
// are kept, and as many are there at the beginning.
//
// Thread safety: all members. Cost: one atomic operation.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace muster::client {

class RetryBudget {
 public:
  explicit RetryBudget(double share, double kept = 10)
      : share_(static_cast<int64_t>(share * kOne)),
        most_(static_cast<int64_t>(kept * kOne)),
        has_(share > 0 ? most_ : 0) {}

  void Called() {
    int64_t has = has_.load(std::memory_order_relaxed);
    while (has < most_ && !has_.compare_exchange_weak(has, std::min(most_, has + share_),
                                                      std::memory_order_relaxed)) {
    }
  }
  // True: it may be tried again, and one retry less is there.
  bool Take() {
    int64_t has = has_.load(std::memory_order_relaxed);
    while (has >= kOne) {
      if (has_.compare_exchange_weak(has, has - kOne, std::memory_order_relaxed)) return true;
    }
    return false;
  }

 private:
  static constexpr int64_t kOne = 1'000'000;
  const int64_t share_;
  const int64_t most_;
  std::atomic<int64_t> has_;
};

}  // namespace muster::client

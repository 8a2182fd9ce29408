// TimerWheel: items filed under the time at which they fall due. Pure: no thread, no clock.
//
// Thread safety: none. Units: microseconds of the caller's clock. Cost: Insert O(1); Advance
// O(due + ticks passed). An item falls due at the first tick at or after its time; times beyond
// the horizon are filed at the horizon, so the owner has to check an item's own deadline and
// insert it again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace muster::core {

template <typename T>
class TimerWheel {
 public:
  // REQUIRES: tick_us > 0, slots > 1.
  TimerWheel(int64_t now_us, int64_t tick_us, size_t slots)
      : tick_us_(tick_us), current_(now_us / tick_us), slots_(slots) {}

  void Insert(int64_t due_us, T item) {
    int64_t tick = (due_us + tick_us_ - 1) / tick_us_;
    if (tick <= current_) tick = current_ + 1;
    const int64_t horizon = current_ + static_cast<int64_t>(slots_.size()) - 1;
    if (tick > horizon) tick = horizon;
    slots_[static_cast<size_t>(tick) % slots_.size()].push_back(std::move(item));
    ++size_;
  }

  // Appends to `due` all items of the ticks up to `now_us`. A now before the last one does nothing.
  void Advance(int64_t now_us, std::vector<T>& due) {
    const int64_t target = now_us / tick_us_;
    int64_t steps = target - current_;
    if (steps <= 0) return;
    if (steps > static_cast<int64_t>(slots_.size())) steps = static_cast<int64_t>(slots_.size());
    for (int64_t i = 1; i <= steps; ++i) {
      auto& slot = slots_[static_cast<size_t>(current_ + i) % slots_.size()];
      size_ -= slot.size();
      for (T& item : slot) due.push_back(std::move(item));
      slot.clear();
      slot.shrink_to_fit();
    }
    current_ = target;
  }

  // Items filed now.
  size_t size() const { return size_; }

 private:
  int64_t tick_us_;
  int64_t current_;  // the last tick that was handed out
  size_t size_ = 0;
  std::vector<std::vector<T>> slots_;
};

}  // namespace muster::core

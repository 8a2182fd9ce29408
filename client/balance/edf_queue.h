// Earliest deadline first: each of n in turn, as often as its weight says, and evenly mixed.
//
// Thread safety: none. Cost: Next: O(log n), no allocation; Fill: O(n), and none if the queue had
// as many before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace muster::client {

class EdfQueue {
 public:
  // `weight(i)` of the i-th: above 0. `until(i)`: what it waits for its first turn, as a part of
  // what it waits for the others: at random in [0, 1), so that queues don't go in step.
  template <typename Weight, typename Until>
  void Fill(size_t count, const Weight& weight, const Until& until) {
    heap_.clear();
    heap_.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      const double step = 1 / weight(i);
      heap_.push_back({step * until(i), step, static_cast<uint32_t>(i)});
    }
    for (size_t i = count / 2; i-- > 0;) SiftDown(i);
  }

  void Clear() { heap_.clear(); }
  // `visit(i, until)` for each, in no order: as Fill wants them to go on from here.
  template <typename Visit>
  void ForEach(const Visit& visit) const {
    for (const Entry& entry : heap_) {
      visit(entry.index, (entry.due - heap_.front().due) / entry.step);
    }
  }

  // REQUIRES: not empty.
  size_t Next() {
    Entry& first = heap_.front();
    const size_t index = first.index;
    first.due += first.step;
    SiftDown(0);
    return index;
  }

 private:
  struct Entry {
    double due;
    double step;
    uint32_t index;
  };

  void SiftDown(size_t at) {
    const Entry moved = heap_[at];
    const size_t size = heap_.size();
    for (;;) {
      size_t child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && heap_[child + 1].due < heap_[child].due) ++child;
      if (heap_[child].due >= moved.due) break;
      heap_[at] = heap_[child];
      at = child;
    }
    heap_[at] = moved;
  }

  std::vector<Entry> heap_;  // the earliest at the top
};

}  // namespace muster::client

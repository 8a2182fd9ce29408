#include "tests/bench/order.h"

#include <numeric>
#include <utility>

namespace muster::bench {

std::vector<size_t> OrderOf(int round, size_t contestants) {
  std::vector<size_t> order(contestants);
  std::iota(order.begin(), order.end(), 0);
  for (size_t first = 0; first + 1 < contestants; first += 2) {
    const bool odd_pair = first % 4 != 0;
    // Pairs beside each other turn a round apart: all four combinations come.
    const int turn = odd_pair ? round / 2 + round : round;
    if (turn % 2 == 1) std::swap(order[first], order[first + 1]);
  }
  return order;
}

}  // namespace muster::bench

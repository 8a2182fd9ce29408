// One of n by chance, by weight (Walker's alias method, in Vose's form: IEEE Transactions on
// Software Engineering 17(9), 1991).
//
// Thread safety: never changes. Cost: Draw: O(1); making one: O(n).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace muster::client {

class AliasTable {
 public:
  AliasTable() = default;
  // Weights above 0.
  explicit AliasTable(const std::vector<double>& weights) : cells_(weights.size()) {
    double total = 0;
    for (const double weight : weights) total += weight;
    std::vector<double> part(weights.size());  // of its cell, 1 on the mean
    std::vector<uint32_t> below;
    std::vector<uint32_t> above;
    for (uint32_t i = 0; i < weights.size(); ++i) {
      part[i] = weights[i] * static_cast<double>(weights.size()) / total;
      (part[i] < 1 ? below : above).push_back(i);
    }
    while (!below.empty() && !above.empty()) {
      const uint32_t small = below.back();
      const uint32_t large = above.back();
      below.pop_back();
      cells_[small] = {part[small], large};
      part[large] -= 1 - part[small];
      if (part[large] >= 1) continue;
      above.pop_back();
      below.push_back(large);
    }
    // What is left has a cell of its own, but for rounding.
    for (const uint32_t i : below) cells_[i] = {1, i};
    for (const uint32_t i : above) cells_[i] = {1, i};
  }

  // `random`: 64 random bits. REQUIRES: not empty.
  size_t Draw(uint64_t random) const {
    // The upper half chooses the cell, the lower one what of it.
    const size_t at = static_cast<size_t>((random >> 32) * cells_.size() >> 32);
    const double unit = static_cast<double>(random & 0xFFFFFFFF) * 0x1.0p-32;
    return unit < cells_[at].part ? at : cells_[at].alias;
  }

 private:
  struct Cell {
    double part = 1;
    uint32_t alias = 0;
  };
  std::vector<Cell> cells_;
};

}  // namespace muster::client

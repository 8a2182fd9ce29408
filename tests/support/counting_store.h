// A memory engine's store that counts what is read from it.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <string_view>

#include "storage/memory_engine.h"

namespace muster::test {

class CountingStore : public storage::MemoryStore {
 public:
  absl::StatusOr<std::optional<std::string>> Read(storage::Family family,
                                                  std::string_view key) const override {
    ++reads;
    return MemoryStore::Read(family, key);
  }
  mutable std::atomic<int> reads{0};
};

}  // namespace muster::test

// A memory engine's store that counts what is read from it, and may fail to.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "storage/memory_engine.h"

namespace muster::test {

class CountingStore : public storage::MemoryStore {
 public:
  absl::StatusOr<std::optional<std::string>> Read(storage::Family family,
                                                  std::string_view key) const override {
    ++reads;
    if (!unreadable.empty() && key == unreadable) return absl::DataLossError("unreadable");
    return MemoryStore::Read(family, key);
  }
  mutable std::atomic<int> reads{0};
  std::string unreadable;  // a key; changed while nobody reads
};

}  // namespace muster::test

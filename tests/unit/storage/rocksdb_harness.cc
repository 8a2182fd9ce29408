#include "rocksdb_harness.h"

namespace muster::storage::testing {

std::unique_ptr<Engine> RocksDbHarness::NewEngineAt(const std::string& dir) {
  return std::make_unique<RocksDbEngine>(
      RocksDbOptions{.data_dir = dir, .clock = clock_, .rng = rng_, .limits = limits_});
}

HarnessKind RocksDb() {
  return {"RocksDb",
          [](const EngineLimits& limits) { return std::make_unique<RocksDbHarness>(limits); }};
}

}  // namespace muster::storage::testing

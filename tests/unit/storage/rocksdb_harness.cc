#include "rocksdb_harness.h"

#include <fstream>
#include <iterator>

namespace muster::storage::testing {

std::unique_ptr<Engine> RocksDbHarness::NewEngineAt(const std::string& dir) {
  return std::make_unique<RocksDbEngine>(
      RocksDbOptions{.data_dir = dir, .clock = clock_, .rng = rng_, .limits = limits_});
}

std::string Contents(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void Overwrite(const std::filesystem::path& file, const std::string& contents) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << contents;
}

HarnessKind RocksDb() {
  return {"RocksDb",
          [](const EngineLimits& limits) { return std::make_unique<RocksDbHarness>(limits); }};
}

}  // namespace muster::storage::testing

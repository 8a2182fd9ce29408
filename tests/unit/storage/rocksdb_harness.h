// RocksDB engines for the engine tests.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "engine_harness.h"
#include "storage/rocksdb/rocksdb_engine.h"

namespace muster::storage::testing {

class RocksDbHarness : public EngineHarness {
 public:
  explicit RocksDbHarness(const EngineLimits& limits = {}) { limits_ = limits; }
  ~RocksDbHarness() override { engine_.reset(); }

  std::unique_ptr<Engine> NewEngine() override { return NewEngineAt(dir()); }
  std::unique_ptr<Engine> NewEngineAt(const std::string& dir);
  std::string dir() const { return temp_ / "data"; }
  const TempDir& temp() const { return temp_; }
  base::Rng& rng() { return rng_; }

 private:
  const TempDir temp_;
};

HarnessKind RocksDb();

// A file as a whole.
std::string Contents(const std::filesystem::path& file);
void Overwrite(const std::filesystem::path& file, const std::string& contents);

}  // namespace muster::storage::testing

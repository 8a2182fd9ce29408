// Salvage: opens a store whose last record can't be read, without that record.
//
// Whether the record was acknowledged can't be known any more: the store begins a new epoch, so
// that whoever was told of it starts over. For a directory that no server has open.
//
// Errors: FAILED_PRECONDITION when the store needs no salvage; DATA_LOSS when it can't be salvaged;
// UNAVAILABLE when the directory can't be used. Nothing is changed then.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/rng.h"
#include "storage/engine.h"

namespace muster::storage {

struct Salvage {
  std::string file;    // name of the log in the directory
  uint64_t at = 0;     // what is kept of it, in bytes
  uint64_t bytes = 0;  // what is dropped
  std::string why;
};

// What Salvage would drop.
absl::StatusOr<Salvage> PlanSalvage(const std::string& data_dir);

// Drops it. The bytes are kept beside the log, as FILE.cut.
absl::StatusOr<Revision> RunSalvage(const std::string& data_dir, const base::Clock& clock,
                                    base::Rng& rng);

}  // namespace muster::storage

// Salvage: opens a store without what it wrote last: its last record can't be read, or the end of
// its logs, or all of them, are gone.
//
// Whether that was acknowledged can't be known any more, or is certain: the store begins a new
// epoch, so that whoever was told of it starts over. For a directory that no server has open.
//
// Errors: FAILED_PRECONDITION when the store needs no salvage; DATA_LOSS when it can't be salvaged;
// UNAVAILABLE when the directory can't be used. Nothing is changed then; or the directory is marked
// (SalvageMark), no server opens it, and the next salvage finishes what this one began.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/rng.h"
#include "storage/engine.h"

namespace muster::storage {

struct Salvage {
  std::string file;    // name of the log in the directory; "" = nothing is to be cut
  uint64_t at = 0;     // what is kept of it, in bytes
  uint64_t bytes = 0;  // what is dropped
  std::string why;
};

// What Salvage would drop.
absl::StatusOr<Salvage> PlanSalvage(const std::string& data_dir);

// Drops it. The whole log is kept beside it, as FILE.cut (FILE.cut2… when that is there).
struct Salvaged {
  Revision revision;  // where the new epoch begins
  std::string kept;   // name of the copy; "" = nothing was cut
};
absl::StatusOr<Salvaged> RunSalvage(const std::string& data_dir, const base::Clock& clock,
                                    base::Rng& rng);

}  // namespace muster::storage

// Verify's part of maintenance: does the server know what a snapshot says of it, and do states
// agree with it?
//
//   StoredMarks marks(catalog.maintenance());  // before the snapshot is taken
//   … the snapshot is taken, and applied …
//   absl::Status status = marks.Read(engine, snapshot, problems);
//   if (marks.Contradicts(instance_key, state)) …
//
// Thread safety: none. Ownership: the set outlives it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "server/core/maintenance_set.h"
#include "storage/engine.h"

namespace muster::core {

class StoredMarks {
 public:
  explicit StoredMarks(const MaintenanceSet& served);

  // Appends a line for each mark that one has and the other hasn't. Errors: those of the store.
  absl::Status Read(const storage::Engine& engine, const storage::Snapshot& snapshot,
                    std::vector<std::string>& problems);

  // Never while states are on their way to what they have to be.
  bool Contradicts(std::string_view instance_key, v1::State state) const {
    return settled_ && stored_.Covers(instance_key) != (state == v1::MAINTENANCE);
  }

 private:
  const MaintenanceSet& served_;
  const uint64_t ended_;  // before the snapshot
  const std::vector<std::string> keys_before_;
  MaintenanceSet stored_;
  bool settled_ = false;
};

}  // namespace muster::core

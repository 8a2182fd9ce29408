// Verify: does what the server answers equal what the store holds?
//
// Compares a snapshot of the store with the catalog and the leases while writes go on. The snapshot
// has been applied before it is compared, so what differs either changed after it, which its seq
// tells, or is wrong. Services in which something is wrong are looked at once more, on a fresh
// snapshot, before anything is reported.
//
// Thread safety: pure but for reads; blocks its thread. Errors: those of the store; CANCELLED.
// Cost: reads the whole store; in memory, a pointer per lease and one service at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/core/catalog.h"
#include "server/core/lease_table.h"
#include "storage/engine.h"

namespace muster::core {

inline constexpr size_t kMaxVerifyProblems = 100;

struct Verification {
  storage::Revision revision;  // of the last snapshot
  uint64_t services = 0;
  uint64_t instances = 0;
  uint64_t leases = 0;
  // One line each, at most kMaxVerifyProblems.
  std::vector<std::string> problems;
};

// `cancelled` is asked now and then.
absl::StatusOr<Verification> Verify(const storage::Engine& engine, Catalog& catalog,
                                    const LeaseTable& leases,
                                    const std::function<bool()>& cancelled);

}  // namespace muster::core

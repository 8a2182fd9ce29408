// What SetMaintenance does to the store's records: pure decisions over the stored state, as in
// instance_change.h.
//
// Thread safety: pure. Errors: base::Reason in each status.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "muster/v1/registry.pb.h"
#include "server/core/instance_change.h"
#include "storage/engine.h"

namespace muster::core {

// A request that was found valid.
struct Marking {
  storage::InstanceKey names;  // of a node: without service and id
  bool on = false;
  std::string reason;

  bool of_node() const { return names.service.empty(); }
  // Of the record in the family `nodes`.
  std::string RecordKey() const;
};

// Errors: INVALID_ARGUMENT naming the field.
absl::StatusOr<Marking> ReadMarking(const v1::SetMaintenanceRequest& request);

// Appends to `unit` what makes the record say so; only its precondition when it does already.
// `present`: its value, nullopt = there is none. Returns whether maintenance begins: it was off.
// Errors: DATA_LOSS.
absl::StatusOr<bool> AppendMark(const Marking& marking, const std::optional<std::string>& present,
                                uint64_t now_ms, storage::Unit& unit);

// Gives the instance the state that it has to have; without ops: it has it.
Change StateChange(std::string_view key, const StoredInstance& present, bool in_maintenance);

}  // namespace muster::core

#include "server/core/maintenance_change.h"

#include <utility>

#include "base/errors.h"
#include "muster/storage/v1/storage.pb.h"
#include "server/core/field_rules.h"
#include "server/core/maintenance_set.h"
#include "server/core/record_view.h"

namespace muster::core {
namespace {

using base::Reason;
using storage::Family;

constexpr size_t kMaxReason = 512;
constexpr size_t kMaxNode = 255;

absl::StatusOr<storage::InstanceKey> NormalNode(const v1::NodeKey& node) {
  auto ns = NormalNamespace(node.namespace_(), "node.namespace");
  if (!ns.ok()) return ns.status();
  if (absl::Status s = CheckText({"node", "node"}, node.node(), 1, kMaxNode); !s.ok()) return s;
  return storage::InstanceKey{.ns = *std::move(ns), .service = "", .node = node.node(), .id = ""};
}

absl::StatusOr<storage::InstanceKey> NormalTarget(const v1::SetMaintenanceRequest& request) {
  switch (request.target_case()) {
    case v1::SetMaintenanceRequest::kKey:
      return NormalKey(request.key(), "key");
    case v1::SetMaintenanceRequest::kNode:
      return NormalNode(request.node());
    default:
      return FieldError({"", "target"}, "is not set; give key or node");
  }
}

// Of one of `nodes`; the default when there is none.
template <typename Record>
absl::StatusOr<Record> Parsed(const std::optional<std::string>& present) {
  Record record;
  if (!present) return record;
  const auto decoded = storage::DecodeValue(*present);
  if (!decoded.ok()) return decoded.status();
  if (!record.ParseFromArray(decoded->payload.data(), static_cast<int>(decoded->payload.size()))) {
    return base::MakeError(absl::StatusCode::kDataLoss, Reason::kStorageDamaged,
                           "a node record can't be read");
  }
  return record;
}

absl::StatusOr<bool> AppendNodeMark(const Marking& marking,
                                    const std::optional<std::string>& present, uint64_t now_ms,
                                    storage::Unit& unit) {
  auto record = Parsed<storage::v1::NodeRecord>(present);
  if (!record.ok()) return record.status();
  const bool was_on = record->maintenance();
  const bool same =
      was_on == marking.on && (!marking.on || record->maintenance_reason() == marking.reason);
  if (same) return false;
  record->set_maintenance(marking.on);
  record->set_maintenance_reason(marking.on ? marking.reason : "");
  if (!marking.on) {
    record->clear_maintenance_since_ms();
  } else if (!was_on) {
    record->set_maintenance_since_ms(now_ms);
  }
  const std::string bytes = record->SerializeAsString();
  unit.ops.push_back(bytes.empty() ? storage::Delete(Family::kNodes, marking.RecordKey())
                                   : storage::Put(Family::kNodes, marking.RecordKey(),
                                                  storage::EncodeValue(bytes)));
  return marking.on && !was_on;
}

absl::StatusOr<bool> AppendInstanceMark(const Marking& marking,
                                        const std::optional<std::string>& present, uint64_t now_ms,
                                        storage::Unit& unit) {
  auto record = Parsed<storage::v1::MaintenanceRecord>(present);
  if (!record.ok()) return record.status();
  if (!marking.on) {
    if (present) unit.ops.push_back(storage::Delete(Family::kNodes, marking.RecordKey()));
    return false;
  }
  if (present && record->reason() == marking.reason) return false;
  record->set_reason(marking.reason);
  if (!present) record->set_since_ms(now_ms);
  unit.ops.push_back(storage::Put(Family::kNodes, marking.RecordKey(),
                                  storage::EncodeValue(record->SerializeAsString())));
  return !present;
}

}  // namespace

std::string Marking::RecordKey() const {
  if (of_node()) return storage::EncodeNodeKey(names.ns, names.node);
  return storage::EncodeNodeInstanceKey(names.ns, names.node, names.service, names.id);
}

absl::StatusOr<Marking> ReadMarking(const v1::SetMaintenanceRequest& request) {
  auto names = NormalTarget(request);
  if (!names.ok()) return names.status();
  if (absl::Status s = CheckText({"", "reason"}, request.reason(), 0, kMaxReason); !s.ok()) {
    return s;
  }
  return Marking{.names = *std::move(names), .on = request.on(), .reason = request.reason()};
}

absl::StatusOr<bool> AppendMark(const Marking& marking, const std::optional<std::string>& present,
                                uint64_t now_ms, storage::Unit& unit) {
  unit.preconditions.push_back(storage::ModSeqIs(Family::kNodes, marking.RecordKey(),
                                                 present ? storage::ModSeqOf(*present) : 0));
  return marking.of_node() ? AppendNodeMark(marking, present, now_ms, unit)
                           : AppendInstanceMark(marking, present, now_ms, unit);
}

Change StateChange(std::string_view key, const StoredInstance& present, bool in_maintenance) {
  Change out;
  out.incarnation = present.words.incarnation;
  out.unit.preconditions.push_back(
      storage::ModSeqIs(Family::kInstances, std::string(key), present.mod_seq));
  const v1::State state = StateOf(in_maintenance, present.record.draining());
  if (state == present.record.state()) return out;
  out.changed = true;
  storage::v1::InstanceRecord record = present.record;
  record.set_state(state);
  storage::InstanceWords words = present.words;
  words.visible_seq = 0;
  out.unit.ops.push_back(
      storage::Put(Family::kInstances, std::string(key),
                   storage::EncodeInstanceValue(words, SerializeRecord(record))));
  return out;
}

}  // namespace muster::core

#include "storage/group.h"

#include <utility>

#include "absl/container/flat_hash_map.h"

namespace muster::storage {
namespace {

// The committed state with the writes of the group's earlier units on top.
class Overlay {
 public:
  explicit Overlay(GroupReader reader) : reader_(reader) {}

  absl::StatusOr<std::optional<std::string>> Read(Family family, std::string_view key) const {
    const auto found = writes_.find({family, key});
    if (found == writes_.end()) return reader_(family, key);
    if (found->second->kind == Op::Kind::kDelete) return std::nullopt;
    return found->second->value;
  }

  void Write(const std::vector<Op>& ops) {
    for (const Op& op : ops) writes_[{op.family, op.key}] = &op;
  }

 private:
  const GroupReader reader_;
  absl::flat_hash_map<std::pair<Family, std::string_view>, const Op*> writes_;
};

bool Holds(const Precondition& precondition, const std::optional<std::string>& current) {
  if (!current) return precondition.mod_seq == 0;
  if (precondition.mod_seq == kAnySeq) return true;
  return precondition.mod_seq != 0 && ModSeqOf(*current) == precondition.mod_seq;
}

// kCommitted with no seq yet when every precondition holds.
UnitResult JudgeUnit(const Unit& unit, const Overlay& overlay) {
  for (const Precondition& precondition : unit.preconditions) {
    auto current = overlay.Read(precondition.family, precondition.key);
    if (!current.ok()) {
      return {.verdict = UnitResult::Verdict::kNotCommitted, .status = current.status()};
    }
    if (!Holds(precondition, *current)) {
      return {.verdict = UnitResult::Verdict::kRejected,
              .current = std::move(*current).value_or(std::string())};
    }
  }
  return {.verdict = UnitResult::Verdict::kCommitted};
}

}  // namespace

JudgedGroup JudgeGroup(absl::Span<Unit> units, uint64_t last_seq, GroupReader reader) {
  JudgedGroup judged;
  judged.last_seq = last_seq;
  judged.results.reserve(units.size());
  judged.commits.reserve(units.size());
  Overlay overlay(reader);
  for (Unit& unit : units) {
    UnitResult result = JudgeUnit(unit, overlay);
    if (result.verdict == UnitResult::Verdict::kCommitted) {
      if (!unit.ops.empty()) {
        ++judged.last_seq;
        for (Op& op : unit.ops) {
          if (op.kind == Op::Kind::kPut) StampModSeq(op.value, judged.last_seq);
        }
        overlay.Write(unit.ops);
        judged.commits.push_back({judged.last_seq, unit.ops});
      }
      result.seq = judged.last_seq;
    }
    judged.results.push_back(std::move(result));
  }
  return judged;
}

size_t UnitBytes(const Unit& unit) {
  size_t bytes = 0;
  for (const Op& op : unit.ops) bytes += op.key.size() + op.value.size();
  return bytes;
}

}  // namespace muster::storage

#include "storage/group.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace muster::storage {
namespace {

// The committed state with the writes of the group's earlier units on top.
class Overlay {
 public:
  // Of so many ops.
  Overlay(size_t ops, ModSeqReader mod_seqs, GroupReader reader)
      : mod_seqs_(mod_seqs), reader_(reader), writes_(ops) {}

  // nullopt: has to be read.
  std::optional<uint64_t> ModSeq(Family family, std::string_view key) const {
    const auto found = writes_.find({family, key});
    if (found == writes_.end()) return mod_seqs_(family, key);
    return found->second->kind == Op::Kind::kDelete ? 0 : ModSeqOf(found->second->value);
  }

  absl::StatusOr<std::optional<std::string>> Read(Family family, std::string_view key) const {
    const auto found = writes_.find({family, key});
    if (found == writes_.end()) return reader_(family, key);
    if (found->second->kind == Op::Kind::kDelete) return std::nullopt;
    return found->second->value;
  }

  void Write(absl::Span<const Op> ops) {
    for (const Op& op : ops) writes_[{op.family, op.key}] = &op;
  }

 private:
  const ModSeqReader mod_seqs_;
  const GroupReader reader_;
  absl::flat_hash_map<std::pair<Family, std::string_view>, const Op*> writes_;
};

// `current`: the key's modify seq, 0 when it is absent.
bool Holds(const Precondition& precondition, uint64_t current) {
  return precondition.mod_seq == kAnySeq ? current != 0 : current == precondition.mod_seq;
}

// kCommitted with no seq yet when every precondition holds.
UnitResult JudgeUnit(const Unit& unit, const Overlay& overlay) {
  for (const Precondition& precondition : unit.preconditions) {
    const auto applied = overlay.ModSeq(precondition.family, precondition.key);
    if (applied && Holds(precondition, *applied)) continue;
    auto current = overlay.Read(precondition.family, precondition.key);
    if (!current.ok()) {
      return {.verdict = UnitResult::Verdict::kNotCommitted, .status = current.status()};
    }
    if (!Holds(precondition, *current ? ModSeqOf(**current) : 0)) {
      return {.verdict = UnitResult::Verdict::kRejected,
              .current = std::move(*current).value_or(std::string())};
    }
  }
  return {.verdict = UnitResult::Verdict::kCommitted};
}

}  // namespace

JudgedGroup JudgeGroup(absl::Span<Unit* const> units, SeqPosition seqs, ModSeqReader mod_seqs,
                       GroupReader reader) {
  JudgedGroup judged;
  judged.last_seq = seqs.last;
  judged.results.reserve(units.size());
  judged.commits.reserve(units.size());
  size_t ops = 0;
  for (const Unit* unit : units) ops += unit->ops.size();
  Overlay overlay(ops, mod_seqs, reader);
  for (Unit* const each : units) {
    Unit& unit = *each;
    UnitResult result = JudgeUnit(unit, overlay);
    if (result.verdict == UnitResult::Verdict::kCommitted) {
      if (!unit.ops.empty()) {
        judged.last_seq = std::max(judged.last_seq + 1, seqs.least);
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

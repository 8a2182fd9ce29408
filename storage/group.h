// Judges a group: decides, in order, which units hold, and gives the others' reasons.
//
//   JudgedGroup judged = JudgeGroup(units, last_seq, mod_seqs, reader);
//
// Pure: no thread, no clock, no disk but through `mod_seqs` and
// `reader`. Every engine uses this, so that no two
// of them can differ in what a precondition means.
//
// Ownership: the result's commits point into the units, which must outlive it and stay where they
// are. Cost: one look at `mod_seqs` per precondition whose key no earlier unit of the group has
// written, and one read where that doesn't tell or the precondition fails.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "storage/engine.h"

namespace muster::storage {

// The committed value of a key; nullopt when absent.
using GroupReader =
    absl::FunctionRef<absl::StatusOr<std::optional<std::string>>(Family, std::string_view)>;

// A key's modify seq where it is at hand, 0 when it is absent; nullopt: to be read.
using ModSeqReader = absl::FunctionRef<std::optional<uint64_t>(Family, std::string_view)>;

struct JudgedGroup {
  std::vector<UnitResult> results;  // one for each unit
  std::vector<Commit> commits;      // units that hold and have ops; seqs ascending
  uint64_t last_seq = 0;            // of the last commit, or what it was before
};

// Where seqs go on.
struct SeqPosition {
  uint64_t last = 0;   // of the last commit
  uint64_t least = 0;  // of the next one, when that is higher than last + 1
};

// Stamps the seq into the ops of each unit that holds. A unit whose preconditions can't be read is
// kNotCommitted with the reader's error.
JudgedGroup JudgeGroup(absl::Span<Unit* const> units, SeqPosition seqs, ModSeqReader mod_seqs,
                       GroupReader reader);

// What a unit weighs against max_unit_bytes: keys and values of its ops.
size_t UnitBytes(const Unit& unit);

}  // namespace muster::storage

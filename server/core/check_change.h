// What results of checks, and changes of its list of checks, do to one instance: pure decisions
// over the stored state, as in instance_change.h.
//
// A check's latest result stands in the family `checks`, its last changes of status in
// `transitions` by their number, from 1.
//
// Thread safety: pure, but for ReadResult, which reads the store. Errors: base::Reason in each
// status.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/core/instance_change.h"

namespace muster::core {

inline constexpr size_t kMaxOutput = 4096;
inline constexpr size_t kMaxTransitionOutput = 512;
inline constexpr uint64_t kKeptTransitions = 10;
// A new output without a new status is written this often at most: of reports by ReportOn, of
// outcomes by whoever finds them out.
inline constexpr absl::Duration kOutputEvery = absl::Seconds(60);

// What the server itself found out about a check.
struct CheckOutcome {
  std::string instance_key;  // storage::EncodeInstanceKey
  std::string check_id;
  // Of the instance that was looked at: it counts for no other definition.
  uint64_t definition_seq = 0;
  v1::Health status = v1::CRITICAL;
  std::string output;
};

// A report of the process. INVALID_ARGUMENT for a status that is none, or a check that the server
// runs itself; NOT_FOUND (CHECK_NOT_FOUND).
absl::StatusOr<Change> ReportOn(std::string_view key, const StoredInstance& present,
                                const v1::ReportHealthRequest& report, ReadCheck read_check,
                                uint64_t now_ms);

// NOT_FOUND (CHECK_NOT_FOUND) when the definition is another one now.
absl::StatusOr<Change> OutcomeOn(const StoredInstance& present, const CheckOutcome& outcome,
                                 ReadCheck read_check, uint64_t now_ms);

// Adds `check`, whose fields have not been looked at, or replaces the one of its id.
absl::StatusOr<Change> AdditionOf(std::string_view key, const StoredInstance& present,
                                  v1::Check check, ReadCheck read_check);
absl::StatusOr<Change> RemovalOfCheck(std::string_view key, const StoredInstance& present,
                                      const std::string& check_id, ReadCheck read_check);

// A record of family `checks` or `transitions`; nullopt when there is none that can be read.
std::optional<storage::v1::CheckRecord> ReadResult(const storage::Engine& engine,
                                                   storage::Family family, std::string_view key);

// Appends what removes a check's result and transitions, if it has any.
void DeleteResults(std::string_view key, std::string_view check_id, ReadCheck read_check,
                   storage::Unit& unit);

}  // namespace muster::core

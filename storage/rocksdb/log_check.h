// Looks at the logs of a data directory before the database reads them, since it would drop a last
// record whose length is damaged, and step over a block of zeros, without a word, and would refuse
// what a power cut left behind.
//
// REQUIRES: the directory's lock. Errors: DATA_LOSS (STORAGE_DAMAGED) with what to do; UNAVAILABLE
// (STORAGE_UNUSABLE). Cost: reads all logs once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/rocksdb/log_scan.h"

namespace muster::storage {

// The log of a directory that isn't whole, when there is one.
struct LogFault {
  std::filesystem::path file;
  uint64_t file_bytes = 0;
  LogScan scan;
};
// A MANIFEST comes first. nullopt also for a directory without a store. DATA_LOSS when CURRENT
// names no MANIFEST.
absl::StatusOr<std::optional<LogFault>> FindLogFault(const std::filesystem::path& dir);

// Cuts the file back to what is whole, durably.
absl::Status CutLog(const LogFault& fault);

// Cuts off what a power cut tore, and says so in the log. OK: all logs are whole now.
absl::Status MendLogs(const std::filesystem::path& dir);

// What a message about a damaged store ends with.
inline constexpr char kWhenDamaged[] =
    "; move the data directory away and restore a backup (muster restore), or start without one:"
    " instances that live register again";
// DATA_LOSS that says what is wrong and what to do.
absl::Status DamagedStore(const std::filesystem::path& dir, std::string_view what);
// The same of a store that a salvage helps.
absl::Status SalvageOrRestore(const std::filesystem::path& dir, std::string_view what);

}  // namespace muster::storage

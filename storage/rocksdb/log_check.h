// Looks at the logs of a data directory before the database reads them, since it would drop a last
// record whose length is damaged, and step over a block of zeros or a log that is gone, without a
// word, and would refuse what a power cut left behind.
//
// REQUIRES: the directory's lock. Errors: DATA_LOSS (STORAGE_DAMAGED) with what to do; UNAVAILABLE
// (STORAGE_UNUSABLE). Cost: reads all logs once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace muster::storage {

// What is wrong with the logs of a directory.
struct LogFault {
  enum class Kind : uint8_t {
    kTorn,     // the last record never reached the disk: nobody was told that it did
    kUnclear,  // the last record can't be read, and may have been acknowledged or not
    kLost,     // what was acknowledged last isn't there any more; what precedes it is
    kDamaged,  // something that others follow can't be read or isn't there
  };
  Kind kind = Kind::kDamaged;
  std::filesystem::path file;
  uint64_t file_bytes = 0;
  uint64_t whole_bytes = 0;  // of its beginning
  std::string what;          // "000012.log can't be read beyond byte 100 (wrong checksum)"
  // Whether there is something to cut off.
  bool has_rest() const { return file_bytes > whole_bytes; }
};
// Of several: of the MANIFEST, or of the oldest log. nullopt also for a directory without a store.
// DATA_LOSS when CURRENT names no MANIFEST, or an older one than it did.
absl::StatusOr<std::optional<LogFault>> FindLogFault(const std::filesystem::path& dir);

// Cuts the file back to what is whole, durably. REQUIRES: has_rest.
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

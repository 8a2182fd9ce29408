// The backup file: a store as of one revision, checked byte by byte.
//
//   "MUSTERBK" | format byte (1) | frames
//   frame = payload length (4 bytes, little-endian) | XXH3-64 of the payload (8, little-endian)
//           | payload
//
// The first payload is a BackupHeader, the others are BackupFrames (storage.proto): entries in
// order of family, then key. The last frame has `end` and the number of entries. These bytes are
// on users' disks: only add.
//
// Thread safety: none needed; a reader belongs to one thread.
// Errors: DATA_LOSS naming the offset for a file that is cut or damaged, FAILED_PRECONDITION for a
// newer format.
// Cost: a frame of about 256 KiB in memory.
#pragma once

#include <cstdint>
#include <istream>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "muster/storage/v1/storage.pb.h"
#include "storage/engine.h"

namespace muster::storage {

// Hands the file over in chunks, a frame each, in order. Stops at the first error of `chunk` and
// returns it. `version`: of the program, for people.
absl::Status WriteBackup(const Snapshot& snapshot, const base::Clock& clock,
                         std::string_view version,
                         absl::FunctionRef<absl::Status(std::string_view)> chunk);

struct BackupEntry {
  Family family = Family::kMeta;
  std::string key;
  std::string value;
};

class BackupReader {
 public:
  // `in` outlives the reader.
  explicit BackupReader(std::istream& in) : in_(in) {}

  // First, once.
  absl::StatusOr<v1::BackupHeader> ReadHeader();
  // nullopt after the last entry: by then the whole file has been checked, up to its last byte.
  absl::StatusOr<std::optional<BackupEntry>> Next();

 private:
  absl::StatusOr<std::string> ReadBytes(size_t count);
  absl::StatusOr<std::string> ReadPayload();
  absl::Status ReadFrame();
  absl::Status CheckEntry(const v1::BackupFrame::Entry& entry);
  absl::Status CheckEnd();
  absl::Status Damaged(std::string_view what) const;

  std::istream& in_;
  uint64_t offset_ = 0;        // of the next byte to read
  uint64_t frame_offset_ = 0;  // where the current frame begins
  v1::BackupFrame frame_;
  int next_in_frame_ = 0;
  uint64_t entries_ = 0;
  std::optional<std::pair<uint32_t, std::string>> last_;
};

}  // namespace muster::storage

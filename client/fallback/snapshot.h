// The file in which a client keeps what the registry said last: its bytes, and how it is replaced.
//
//   "MUSTERC1"             8 bytes
//   CRC-32 of the payload  4 bytes, little-endian (zlib's)
//   the payload's length   8 bytes, little-endian
//   the payload            a muster.snapshot.v1.Snapshot
//
// Thread safety: Snapshot is a value that doesn't change; the functions: all. Cost: Parse reads the
// bytes once, and no endpoint; Find decodes those of one service.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "client/followed_service.h"

namespace muster::client {

// Of one question, by its key.
struct SavedService {
  std::string key;
  base::SystemTime confirmed;  // when the registry last said so
  std::shared_ptr<const EndpointList> endpoints;
};

class Snapshot {
 public:
  // Errors: DATA_LOSS that says what is wrong with the bytes.
  static absl::StatusOr<Snapshot> Parse(std::string bytes);
  // Errors: NOT_FOUND when there is no such file; otherwise as Parse, or why it can't be read. The
  // message names the file.
  static absl::StatusOr<Snapshot> Read(const std::string& path);

  size_t size() const { return services_.size(); }
  std::optional<SavedService> Find(std::string_view key) const;

 private:
  friend std::string FormatSnapshot(const std::vector<SavedService>& services,
                                    const Snapshot* others, base::SystemTime oldest);
  struct Encoded {
    base::SystemTime confirmed;
    std::string endpoints;
  };
  absl::flat_hash_map<std::string, Encoded> services_;
};

// The bytes of a file with `services`, and what `others` (may be null) knows of other keys since
// `oldest`, or of the same ones later.
std::string FormatSnapshot(const std::vector<SavedService>& services, const Snapshot* others,
                           base::SystemTime oldest);

// Held by one process or client at a time, as long as it lives: a file beside, which stays. Where
// that can't be made nobody holds anything.
class FileLock {
 public:
  // Waits. Makes the directory.
  explicit FileLock(const std::string& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_;
};

// All or nothing, and on the disk when it returns: whoever reads it meanwhile, or after a power
// cut, reads the former one. Makes the directory. Only its owner may read it. Errors: the system's,
// with the path.
absl::Status ReplaceFile(const std::string& path, std::string_view bytes);

}  // namespace muster::client

// Watches the free space of the data directory, and keeps a reserve file in it, so that a full disk
// is met by refusing writes and not by a write that fails halfway.
//
//   free >= min_free           ample   all writes
//   free <  min_free           low     users' writes are refused; deletions and expiries go on
//   free <  an eighth of it    the reserve file is deleted: they have its space now
//   free <  kFloor, no reserve full    every write is refused
//
// It ends by itself: above min_free and an eighth the reserve is made again, and users may write.
//
// Thread safety: none; one thread looks. Errors: a disk that can't be asked counts as ample, with a
// warning. Units: bytes. Cost of Look: one call of the system.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace muster::storage {

// What a SpaceGuard asks of the disk.
class Space {
 public:
  virtual ~Space() = default;
  // For a user without privileges.
  virtual absl::StatusOr<uint64_t> FreeBytes() = 0;
  virtual bool HasReserve() = 0;
  virtual absl::Status MakeReserve(uint64_t bytes) = 0;
  virtual void DropReserve() = 0;
};
// Of a directory; the reserve is its file "muster.reserve".
std::unique_ptr<Space> SpaceOf(const std::string& dir);

class SpaceGuard {
 public:
  struct Options {
    uint64_t min_free_bytes = 0;  // 0 = nothing is watched
    uint64_t reserve_bytes = 0;   // 0 = no reserve file
  };
  enum class Level : uint8_t { kAmple, kLow, kFull };
  // Below it even deletions are refused: the log's next pages and a small table fit.
  static constexpr uint64_t kFloor = 1 << 20;

  SpaceGuard(Options options, std::unique_ptr<Space> space);

  // Before the store is opened, which takes space: gives the reserve up when the disk is full.
  void MakeRoom();
  Level Look();
  Level level() const { return level_; }
  uint64_t free_bytes() const { return free_bytes_; }
  const Options& options() const { return options_; }

 private:
  Level Judge(uint64_t free) const;
  void TendReserve(Level level);
  void GiveUpReserve();

  const Options options_;
  const std::unique_ptr<Space> space_;
  Level level_ = Level::kAmple;
  uint64_t free_bytes_ = 0;
  bool asked_in_vain_ = false;
};

}  // namespace muster::storage

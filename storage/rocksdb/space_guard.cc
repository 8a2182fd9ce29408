#include "storage/rocksdb/space_guard.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/log.h"
#include "storage/rocksdb/data_dir.h"

namespace muster::storage {
namespace {

namespace fs = std::filesystem;
using base::LogLevel;

class DirSpace : public Space {
 public:
  explicit DirSpace(fs::path dir) : dir_(std::move(dir)), reserve_(dir_ / "muster.reserve") {}

  absl::StatusOr<uint64_t> FreeBytes() override {
    struct statvfs stat;
    if (::statvfs(dir_.c_str(), &stat) != 0) {
      return UnusableDirectory(dir_, std::generic_category().message(errno));
    }
    return static_cast<uint64_t>(stat.f_bavail) * stat.f_frsize;
  }
  bool HasReserve() override {
    std::error_code error;
    return fs::exists(reserve_, error);
  }
  absl::Status MakeReserve(uint64_t bytes) override {
    const int fd = ::open(reserve_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int error = fd < 0 ? errno : ::posix_fallocate(fd, 0, static_cast<off_t>(bytes));
    if (fd >= 0 && error == 0 && ::fsync(fd) != 0) error = errno;
    if (fd >= 0) ::close(fd);
    if (error == 0) return absl::OkStatus();
    DropReserve();
    return UnusableDirectory(dir_, std::generic_category().message(error));
  }
  void DropReserve() override {
    std::error_code ignored;
    fs::remove(reserve_, ignored);
  }

 private:
  const fs::path dir_;
  const fs::path reserve_;
};

}  // namespace

std::unique_ptr<Space> SpaceOf(const std::string& dir) { return std::make_unique<DirSpace>(dir); }

SpaceGuard::SpaceGuard(Options options, std::unique_ptr<Space> space)
    : options_(options), space_(std::move(space)) {}

SpaceGuard::Level SpaceGuard::Judge(uint64_t free) const {
  const uint64_t min = options_.min_free_bytes;
  // Not at the same place up and down: what is told to users doesn't flap.
  const uint64_t enough = level_ == Level::kAmple ? min : min + min / 8;
  if (free >= enough) return Level::kAmple;
  const uint64_t floor = level_ == Level::kFull ? 2 * kFloor : kFloor;
  return free < floor && !space_->HasReserve() ? Level::kFull : Level::kLow;
}

void SpaceGuard::TendReserve(Level level) {
  if (level == Level::kAmple) {
    if (options_.reserve_bytes == 0 || space_->HasReserve()) return;
    if (free_bytes_ < options_.min_free_bytes + options_.reserve_bytes) return;
    const absl::Status made = space_->MakeReserve(options_.reserve_bytes);
    if (!made.ok() && !asked_in_vain_) {
      base::Log(LogLevel::kWarn, "no reserve file", {{"error", std::string(made.message())}});
    }
    asked_in_vain_ = !made.ok();
  } else if (free_bytes_ < options_.min_free_bytes / 8) {
    GiveUpReserve();
  }
}

void SpaceGuard::GiveUpReserve() {
  if (!space_->HasReserve()) return;
  space_->DropReserve();
  base::Log(LogLevel::kWarn, "the disk is full: the reserve file is given up for deletions",
            {{"free_bytes", std::to_string(free_bytes_)}});
}

void SpaceGuard::MakeRoom() {
  const absl::StatusOr<uint64_t> free = space_->FreeBytes();
  if (!free.ok() || *free >= options_.min_free_bytes / 8) return;
  free_bytes_ = *free;
  GiveUpReserve();
}

SpaceGuard::Level SpaceGuard::Look() {
  if (options_.min_free_bytes == 0) return level_;
  const absl::StatusOr<uint64_t> free = space_->FreeBytes();
  if (!free.ok()) {
    if (!asked_in_vain_) {
      base::Log(LogLevel::kWarn, "the free space isn't known",
                {{"error", std::string(free.status().message())}});
    }
    asked_in_vain_ = true;
    return level_ = Level::kAmple;
  }
  free_bytes_ = *free;
  const Level level = Judge(free_bytes_);
  TendReserve(level);
  return level_ = level;
}

}  // namespace muster::storage

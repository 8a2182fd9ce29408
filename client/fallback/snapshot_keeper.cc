#include "client/fallback/snapshot_keeper.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/text.h"

namespace muster::client {

struct SnapshotKeeper::Disk {
  const std::string path;
  bool failed = false;

  void Write(const std::vector<SavedService>& services, base::SystemTime oldest) {
    // Somebody else may have written it, and mustn't do so in between.
    const FileLock lock(path + ".lock");
    auto others = Snapshot::Read(path);
    const absl::Status status =
        ReplaceFile(path, FormatSnapshot(services, others.ok() ? &*others : nullptr, oldest));
    if (!status.ok() && !failed) {
      base::Log(base::LogLevel::kWarn, "no snapshot is kept",
                {{"error", std::string(status.message())}});
    }
    failed = !status.ok();
  }
};

SnapshotKeeper::SnapshotKeeper(Options options, const base::Clock& clock, Scheduler& scheduler,
                               std::unique_ptr<Scheduler> disk, Collect collect)
    : options_(std::move(options)),
      clock_(clock),
      scheduler_(scheduler),
      disk_(std::move(disk)),
      collect_(std::move(collect)),
      state_(std::make_shared<Disk>(Disk{options_.path})) {
  auto snapshot = Snapshot::Read(options_.path);
  if (snapshot.ok()) {
    at_start_ = *std::move(snapshot);
  } else if (!absl::IsNotFound(snapshot.status())) {
    base::Log(base::LogLevel::kWarn, "the snapshot is ignored",
              {{"error", std::string(snapshot.status().message())}});
  }
}

SnapshotKeeper::~SnapshotKeeper() { disk_->Stop(); }

std::optional<SavedService> SnapshotKeeper::Find(std::string_view key) const {
  if (!at_start_) return std::nullopt;
  auto saved = at_start_->Find(key);
  if (!saved || saved->confirmed < Oldest()) return std::nullopt;
  return saved;
}

void SnapshotKeeper::Changed() {
  const base::SteadyTime now = scheduler_.Now();
  WriteLater(written_ ? std::max(options_.soon, *written_ + options_.between - now)
                      : options_.soon);
}

void SnapshotKeeper::WriteLater(absl::Duration after) {
  const base::SteadyTime at = scheduler_.Now() + after;
  if (timer_ != 0 && at_ <= at) return;
  scheduler_.Cancel(timer_);
  at_ = at;
  timer_ = scheduler_.At(at, [this] {
    timer_ = 0;
    Write();
  });
}

void SnapshotKeeper::Write() {
  written_ = scheduler_.Now();
  disk_->Post([state = state_, services = collect_(), oldest = Oldest()] {
    state->Write(services, oldest);
  });
  WriteLater(options_.refresh);
}

void SnapshotKeeper::Finish() {
  disk_->Stop();
  const std::vector<SavedService> services = collect_();
  if (!services.empty()) state_->Write(services, Oldest());
}

}  // namespace muster::client

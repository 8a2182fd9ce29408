// Keeps the snapshot file of one client up to date, on a thread of its own: a disk that hangs
// delays nothing else.
//
// It is written a moment after something changed, and now and then when nothing does, since it says
// how old it is. What the file has of services that this client doesn't follow stays until it is
// too old: another client may have written it, or this one before it was started anew.
//
// Thread safety: Find: all. The rest: on the scheduler's thread; Finish after that has stopped.
// Errors: none; what goes wrong is logged, once until it goes right again.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "client/fallback/snapshot.h"
#include "client/scheduler.h"

namespace muster::client {

class SnapshotKeeper {
 public:
  struct Options {
    std::string path;
    absl::Duration max_age = absl::Hours(24);
    // After a change; changes that come meanwhile wait for the next time.
    absl::Duration soon = absl::Seconds(1);
    absl::Duration between = absl::Seconds(5);
    // When nothing changes.
    absl::Duration refresh = absl::Minutes(1);
  };
  // Of all services that are followed; those without endpoints, too.
  using Collect = std::function<std::vector<SavedService>()>;

  // Reads the file. REQUIRES: clock and scheduler outlive it. `disk`: its thread.
  SnapshotKeeper(Options options, const base::Clock& clock, Scheduler& scheduler,
                 std::unique_ptr<Scheduler> disk, Collect collect);
  ~SnapshotKeeper();

  // As the file had it at the start; nothing that is too old.
  std::optional<SavedService> Find(std::string_view key) const;

  // Something may have changed.
  void Changed();
  // Writes it for the last time, if there is anything to be written. Waits for the disk.
  void Finish();

 private:
  void Write();
  void WriteLater(absl::Duration after);
  base::SystemTime Oldest() const { return clock_.System() - options_.max_age; }

  const Options options_;
  const base::Clock& clock_;
  Scheduler& scheduler_;
  const std::unique_ptr<Scheduler> disk_;
  const Collect collect_;
  std::optional<Snapshot> at_start_;
  Scheduler::Timer timer_ = 0;
  base::SteadyTime at_{};                    // of the timer
  std::optional<base::SteadyTime> written_;  // when it last began
  struct Disk;                               // what its thread knows
  const std::shared_ptr<Disk> state_;
};

}  // namespace muster::client

// LeaseJudge: says of leases that fell due whether they may be removed, and keeps who may not in
// the HeldSet. Brings ExpiryBrake together with what it needs: counts, time, names and the log.
//
// A lease is judged by the smallest of its groups that has enough leases: those of its service in
// its zone, all of its zone, all of the server. Where fewer than that are known in all it may go.
//
// Thread safety: MayGo and Tend by one thread (that of Registry::ExpireDue), standing by any.
// Ownership: all references outlive it. Cost: without a share, nothing; else mostly look-ups, see
// SilenceCensus.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/core/brake_log.h"
#include "server/core/catalog.h"
#include "server/core/expiry_brake.h"
#include "server/core/held_set.h"
#include "server/core/lease_table.h"
#include "server/core/silence_census.h"

namespace muster::core {

// A service's own share; nothing = that of the options. By storage::EncodeServiceKey.
using BrakeShareOf = std::function<std::optional<double>(std::string_view service_key)>;

struct BrakeStanding {
  uint64_t held = 0;
  uint64_t groups = 0;
  base::SystemTime since;  // while there are groups: since when there are some
};

class LeaseJudge {
 public:
  // `share_of` may be null: no service has its own.
  LeaseJudge(const Catalog& catalog, const LeaseTable& leases, HeldSet& held,
             const base::Clock& clock, const BrakeOptions& options, BrakeShareOf share_of);

  // Nothing: the lease, which was overdue, may be removed if it still is; one that was renewed
  // meanwhile isn't judged. Otherwise it is held, and to be judged again after that time.
  std::optional<absl::Duration> MayGo(const Lease& lease);
  // Every 100 ms at least: notices who came back, writes the log.
  void Tend();

  BrakeStanding standing() const;

 private:
  double ShareOf(std::string_view service_key) const;
  // Of the smallest that is large enough; nothing when there is none.
  struct Counted {
    BrakeGroup group;
    Silence silence;
  };
  std::optional<Counted> SmallestGroup(const Lease& lease, std::string_view service_key);
  void NoteZone(const Lease& lease);
  void Publish();

  const Catalog& catalog_;
  const LeaseTable& leases_;
  HeldSet& held_;
  const base::Clock& clock_;
  const BrakeOptions options_;
  const BrakeShareOf share_of_;
  ExpiryBrake brake_;
  SilenceCensus census_;
  BrakeLog log_;
  absl::flat_hash_map<uint32_t, std::string> zones_;  // names, while anybody is held
  base::SteadyTime reviewed_{};

  mutable base::Mutex mu_;
  BrakeStanding standing_ MUSTER_GUARDED_BY(mu_);
};

}  // namespace muster::core

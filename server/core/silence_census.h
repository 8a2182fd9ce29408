// SilenceCensus: how many leases of a service in a zone, of a zone, and of all were not heard of
// for more than half of their TTL. Permanent leases don't count.
//
// Counts are kept for a moment, so that a herd that falls due is not counted anew for each of its
// leases: those of a service for 250 ms, those of zones for a second; but no longer than an eighth
// of the TTL of who asks, since what fell silent meanwhile is not in them, and no shorter than 20
// times what counting took, or a quarter of the TTL if that is less.
//
// Thread safety: by one thread. Ownership: catalog, leases and clock outlive it.
// Cost: of a service, a look-up of each of its leases; of zones, a look at all leases.
#pragma once

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/core/catalog.h"
#include "server/core/expiry_brake.h"
#include "server/core/lease_table.h"

namespace muster::core {

class SilenceCensus {
 public:
  SilenceCensus(const Catalog& catalog, const LeaseTable& leases, const base::Clock& clock)
      : catalog_(catalog), leases_(leases), clock_(clock) {}

  // Of the group. `ttl`: of the lease that is judged by it.
  Silence Of(const BrakeGroup& group, absl::Duration ttl);

  // How often it counted: services, and all leases.
  uint64_t service_counts() const { return service_counts_; }
  uint64_t full_counts() const { return full_counts_; }

 private:
  struct Made {
    base::SteadyTime at{};
    absl::Duration cost = absl::InfiniteDuration();  // infinite: never
  };
  struct ServiceCount {
    Made made;
    absl::flat_hash_map<uint32_t, Silence> zones;
  };
  static Silence In(const absl::flat_hash_map<uint32_t, Silence>& zones, uint32_t zone);
  bool IsFresh(const Made& made, absl::Duration kept, absl::Duration ttl) const;
  const ServiceCount& OfService(const std::string& service_key, absl::Duration ttl);
  void CountService(const std::string& service_key, ServiceCount& to);
  void CountAll(absl::Duration ttl);
  void ForgetOld(base::SteadyTime now);

  const Catalog& catalog_;
  const LeaseTable& leases_;
  const base::Clock& clock_;
  absl::flat_hash_map<std::string, ServiceCount> services_;  // by service key
  base::SteadyTime forgot_old_{};
  Made all_made_;
  absl::flat_hash_map<uint32_t, Silence> zones_;
  Silence all_;
  uint64_t service_counts_ = 0;
  uint64_t full_counts_ = 0;
};

}  // namespace muster::core

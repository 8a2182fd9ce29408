// Counts the calls of one service, for Client::metrics().
//
// Thread safety: all members. Cost: one short lock, and a look-up for an attempt.
#pragma once

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "muster/client/metrics.h"

namespace muster::client {

class CallCounts {
 public:
  explicit CallCounts(std::string service);

  void AttemptEnded(const AttemptEvent& event, bool has_failed, base::SteadyTime now);
  // `attempts`: 0 = it wasn't made.
  void CallEnded(int attempts, bool has_failed, absl::Duration took);
  void BreakerIs(BreakerState state);
  // Forgets endpoints that haven't been called for an hour.
  ServiceMetrics Read(base::SteadyTime now);

  // Whether a failed call is logged now. `unsaid`: how many weren't since the last that was.
  bool MayLog(base::SteadyTime now, uint64_t* unsaid);

 private:
  struct Known {
    EndpointMetrics counts;
    base::SteadyTime called{};
  };
  void Forget(base::SteadyTime now) MUSTER_REQUIRES(mu_);

  base::Mutex mu_;
  // But for the endpoints.
  ServiceMetrics counts_ MUSTER_GUARDED_BY(mu_);
  absl::flat_hash_map<std::string, Known> endpoints_ MUSTER_GUARDED_BY(mu_);
  base::SteadyTime forgot_ MUSTER_GUARDED_BY(mu_){};
  int64_t log_second_ MUSTER_GUARDED_BY(mu_) = 0;
  int logged_ MUSTER_GUARDED_BY(mu_) = 0;
  uint64_t unsaid_ MUSTER_GUARDED_BY(mu_) = 0;
};

}  // namespace muster::client

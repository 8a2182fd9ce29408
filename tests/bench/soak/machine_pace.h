// How fast the machine is while a soak goes on: the same two calls with no registry behind them, at
// a low rate, on the yardsticks' server.
//
// Thread safety: one thread uses it.
#pragma once

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tests/bench/load.h"
#include "tests/bench/servers.h"
#include "tests/bench/soak/judge.h"

namespace muster::bench {

class MachinePace {
 public:
  // The server outlives this.
  explicit MachinePace(const ServerProcess& yardstick);

  // For so long; the latencies go into `sample`.
  absl::Status Run(absl::Duration duration, Sample* sample);

 private:
  Client writing_;
  Client reading_;
  const MakeRequest rewrites_;
};

}  // namespace muster::bench

// What a single call takes between two stretches of churn, when nothing else goes on, to musterd
// and to the yardsticks in turns: whatever the machine does, it does to both.
//
// Thread safety: one thread uses it.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tests/bench/fixture.h"
#include "tests/bench/load.h"
#include "tests/bench/servers.h"
#include "tests/bench/soak/judge.h"

namespace muster::bench {

struct ProbeOptions {
  size_t services = 0;  // those that exist
  size_t first = 0;     // the first number of an instance that nobody else registers
  absl::Duration burst = absl::Milliseconds(100);  // of one call after the other
  int turns = 10;
};

class Probes {
 public:
  // The servers outlive this.
  Probes(const ServerProcess& server, const ServerProcess& yardstick, const ProbeOptions& options);

  // Fills in what `sample` says of single calls. Leaves instances that expire within seconds.
  absl::Status Run(Sample* sample);

 private:
  // The median latency of one call after the other, in us.
  absl::StatusOr<double> Burst(Client& client, const std::string& method,
                               const MakeRequest& request);

  const ProbeOptions options_;
  Client server_;
  Client yardstick_;
  MakeRequest registers_;
  MakeRequest bare_registers_;
  MakeRequest discovers_;
};

}  // namespace muster::bench

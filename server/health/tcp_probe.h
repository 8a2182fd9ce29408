// Checks whether a TCP connection is accepted, and with TLS, whether the handshake succeeds.
// Nothing is sent beyond that.
//
// Thread safety, ownership, cost: probe.h. One connection for each run, closed at its end.
#pragma once

#include <memory>

#include "absl/time/time.h"
#include "server/health/probe.h"
#include "server/health/probe_environment.h"
#include "server/health/target.h"

namespace muster::health {

std::unique_ptr<Prober> MakeTcpProber(ProbeEnvironment& environment, Target target,
                                      absl::Duration timeout);

}  // namespace muster::health

// Whether anybody answers at an address.
//
// Thread safety: pure, but for the network.
#pragma once

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "muster/client/target.h"

namespace muster::cli {

// Connects and hangs up. A host name is looked up as the machine does it. UNAVAILABLE with the
// system's words: "Connection refused"; DEADLINE_EXCEEDED: nobody said anything.
absl::Status ProbeTcp(const client::Address& address, absl::Duration within);

}  // namespace muster::cli

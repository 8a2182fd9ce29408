// What options that the application leaves open are set to by whoever starts it, as for the binary
// `muster`: MUSTER_ADDR, MUSTER_TOKEN, MUSTER_CA, MUSTER_CERT, MUSTER_KEY.
//
// Thread safety: as environment.h. Errors: INVALID_ARGUMENT that names the variable.
#pragma once

#include "absl/status/status.h"
#include "muster/client/options.h"

namespace muster::client {

// Only where Options::environment is on; then the servers are those of this machine if nobody says
// which.
absl::Status FillFromEnvironment(Options* options);

}  // namespace muster::client

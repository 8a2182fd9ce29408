// Checks that the registry runs: whether they can be sent, and as what.
//
// Thread safety: pure. Errors: as of instance_request.h.
#pragma once

#include "absl/status/status.h"
#include "muster/client/registration.h"
#include "muster/v1/types.pb.h"

namespace muster::client {

// Of `checks`, also that no id is there twice, or among `ttl_checks`.
absl::Status CheckServerChecks(const Instance& instance);
// REQUIRES: CheckServerChecks is OK.
v1::Check ToWire(const Check& check);
// The other way. REQUIRES: it is not of kind ttl.
Check FromWire(const v1::Check& wire);

}  // namespace muster::client

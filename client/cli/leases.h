// The list of leases, as `leases` shows it and `deregister` works through it.
#pragma once

#include "absl/status/status.h"
#include "client/cli/connection.h"
#include "client/cli/render.h"
#include "muster/v1/admin.pb.h"

namespace muster::cli {

// All pages. Errors: of the call.
absl::Status ReadLeases(Connection& connection, const v1::ListLeasesRequest& request,
                        v1::ListLeasesResponse* all);
Table LeaseTable(const v1::ListLeasesResponse& leases);

}  // namespace muster::cli

// ListLeases: pages through the leases, soonest to expire first, while they move.
//
// Pages go by (deadline, key). Whoever renews between pages comes after all others, by key, so that
// the list ends however many renew: he may come twice, whoever doesn't renew comes once, and nobody
// is left out. A token is good for as long as the server runs.
//
// Thread safety: pure but for reads. Errors: INVALID_ARGUMENT naming the field (PAGE_TOKEN_INVALID
// for the token); ABORTED (PAGE_TOKEN_EXPIRED) for a token of an earlier run.
// Cost: looks at every lease, and copies one page; holds up no writer for longer than 1/64 of that.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "muster/v1/admin.pb.h"
#include "server/core/lease_table.h"

namespace muster::rpc {

// `run`: tells this run of the server from earlier ones, whose lease time was another.
absl::StatusOr<v1::ListLeasesResponse> ListLeases(const v1::ListLeasesRequest& request,
                                                  const core::LeaseTable& leases, uint64_t run);

}  // namespace muster::rpc

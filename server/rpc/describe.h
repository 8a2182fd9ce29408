// Everything about one instance, and the list of services: for people and tools.
//
// Thread safety: all functions. Cost: Describe reads a few records of the store; List holds the
// catalog's list of names while it fills one page.
#pragma once

#include "absl/status/statusor.h"
#include "muster/v1/discovery.pb.h"
#include "server/core/catalog.h"
#include "server/core/lease_table.h"
#include "storage/engine.h"

namespace muster::rpc {

// Errors: INVALID_ARGUMENT naming the field, NOT_FOUND (INSTANCE_NOT_FOUND), DATA_LOSS.
absl::StatusOr<v1::DescribeInstanceResponse> Describe(const v1::DescribeInstanceRequest& request,
                                                      const storage::Engine& engine,
                                                      const core::Catalog& catalog,
                                                      const core::LeaseTable& leases);

// Errors: INVALID_ARGUMENT naming the field.
absl::StatusOr<v1::ListServicesResponse> List(const v1::ListServicesRequest& request,
                                              const core::Catalog& catalog);

}  // namespace muster::rpc

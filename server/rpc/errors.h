// Domain errors on the wire: an absl::Status becomes a gRPC status with a google.rpc.Status in
// grpc-status-details-bin: ErrorInfo (reason, domain "muster"), and RetryInfo and BadRequest where
// the error has a delay or names a field.
//
// Thread safety: pure functions. Cost: a few allocations; errors only.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"

namespace muster::rpc {

// The value of ErrorInfo.domain.
inline constexpr char kErrorDomain[] = "muster";

// The details alone, for errors inside a message (batches, subscriptions). Code 0 for OK. An error
// without a reason gets INTERNAL.
google::rpc::Status ToStatusProto(const absl::Status& status);

// OK stays OK. Codes are the same numbers on both sides, but an outcome that is not known is
// UNAVAILABLE to a caller.
grpc::Status ToGrpc(const absl::Status& status);

}  // namespace muster::rpc

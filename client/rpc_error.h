// What a server, or gRPC itself, says of a call that failed.
//
// Thread safety: pure.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace grpc {
class Status;
}  // namespace grpc

namespace muster::client {

// Of google.rpc.Status in grpc-status-details-bin.
struct RpcDetails {
  std::string reason;          // ErrorInfo.reason; "" = none was given
  absl::Duration retry_after;  // RetryInfo.retry_delay; 0 = none was given
};
RpcDetails DetailsOf(const grpc::Status& status);

// What gRPC says, without the address, which it tells up to three times: "can't connect: Connection
// refused".
std::string PlainMessage(const grpc::Status& status);

// The code, the plain message, and the reason for ReasonOf.
absl::Status ToStatus(const grpc::Status& status);
// Has `reason` for ReasonOf.
absl::Status WithReason(absl::Status status, const std::string& reason);
// "" when a server gave none, which is so of all that gRPC says by itself.
std::string ReasonOf(const absl::Status& status);

}  // namespace muster::client

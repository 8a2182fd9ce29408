// Answers a request that is no message, or holds text that is not UTF-8, with INVALID_ARGUMENT.
// gRPC alone would say UNIMPLEMENTED without a word. For calls whose handler takes a message; those
// that take bytes or a stream of requests see for themselves.
//
// Thread safety: as gRPC needs it.
#pragma once

#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <vector>

#include "absl/status/status.h"

namespace muster::rpc {

// What the caller is told.
absl::Status Unreadable();

// For ServerBuilder::experimental().SetInterceptorCreators().
std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>
UnreadableRequestInterceptors();

}  // namespace muster::rpc

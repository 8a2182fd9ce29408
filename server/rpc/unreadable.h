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
#include "server/rpc/call_count.h"

namespace muster::rpc {

// What the caller is told.
absl::Status Unreadable();

// For ServerBuilder::experimental().SetInterceptorCreators(). Counts the calls that it looks at;
// `count` outlives the server.
std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>
UnreadableRequestInterceptors(CallCount& count);

}  // namespace muster::rpc

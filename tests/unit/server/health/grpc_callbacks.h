// For tests that make calls of gRPC's callback API, again and again with nothing between them.
//
// What gRPC runs callbacks on ends with the last channel or server that uses it and begins anew
// with the next; its version 1.51 now and then frees it twice, or loses what waits on it. In the
// program it lives as long as the registry's own server.
#pragma once

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include "grpc/health/v1/health.grpc.pb.h"

namespace muster::health {

// From now on it stays.
inline void KeepGrpcCallbacks() {
  static const auto* const server = [] {
    static auto* const service = new grpc::health::v1::Health::CallbackService;
    grpc::EnableDefaultHealthCheckService(false);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials());
    builder.RegisterService(service);
    return builder.BuildAndStart().release();
  }();
  static_cast<void>(server);
}

}  // namespace muster::health

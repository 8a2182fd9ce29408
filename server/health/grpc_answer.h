// What became of a call to grpc.health.v1.Health, and what that says about the target.
//
// Thread safety: pure.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <string>
#include <string_view>

#include "server/health/probe.h"

namespace muster::health {

struct GrpcAnswer {
  grpc::Status status;
  // The status is the target's, or that of a connection that it had accepted and that broke: gRPC
  // doesn't tell these apart. False: gRPC made it up, as there was no connection.
  bool from_target = false;
};

// REQUIRES: the call has ended.
GrpcAnswer AnswerOf(const grpc::ClientContext& context, const grpc::Status& status);

// The target doesn't know the method that was called.
bool IsUnimplemented(const GrpcAnswer& answer);

// Of a status that the target gave for `service`: a number of
// grpc.health.v1.HealthCheckResponse.ServingStatus, known or not.
ProbeResult JudgeServing(int serving, std::string_view service);

// Of a call that failed. `peer`: whom it was made to.
ProbeResult JudgeFailure(const GrpcAnswer& answer, std::string_view service, std::string_view peer);

}  // namespace muster::health

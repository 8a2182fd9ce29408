// Calls of grpc.health.v1.Health, brought to the health loop's thread.
//
// Thread safety: all members on the loop's thread, where all callbacks come. Ownership: a call
// keeps itself until gRPC is done with it; the environment waits for that (CallCount). Callbacks
// hold what they are called with.
#pragma once

#include <grpcpp/channel.h>

#include <functional>
#include <memory>
#include <string>

#include "server/health/grpc_answer.h"
#include "server/health/probe_environment.h"

namespace muster::health {

class GrpcCall {
 public:
  virtual ~GrpcCall() = default;
  // Its end comes soon after. Idempotent.
  virtual void Cancel() = 0;
};

// `done` comes once, later; `serving` is set when the answer is OK.
std::shared_ptr<GrpcCall> CallCheck(ProbeEnvironment& environment,
                                    const std::shared_ptr<grpc::Channel>& channel,
                                    const std::string& service,
                                    std::function<void(const GrpcAnswer&, int serving)> done);

class GrpcWatchCall : public GrpcCall {
 public:
  // Asks for the next status. REQUIRES: on_status has come since the last time, and neither on_end
  // nor Cancel.
  virtual void Next() = 0;
};

struct GrpcWatchCallbacks {
  std::function<void(int serving)> on_status;
  std::function<void(const GrpcAnswer&)> on_end;  // once
};

// Asks for the first status by itself.
std::shared_ptr<GrpcWatchCall> CallWatch(ProbeEnvironment& environment,
                                         const std::shared_ptr<grpc::Channel>& channel,
                                         const std::string& service, GrpcWatchCallbacks callbacks);

}  // namespace muster::health

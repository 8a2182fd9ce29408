// What a gRPC check asks.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "server/health/target.h"

namespace muster::health {

struct GrpcPlan {
  Target target;
  absl::Duration timeout;
  absl::Duration interval;
  std::string service;
};

}  // namespace muster::health

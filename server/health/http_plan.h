// What an HTTP check sends, byte for byte, and which answer it takes: read out of its definition
// once, and kept for its runs.
//
// Thread safety: pure. Errors: INVALID_ARGUMENT, one line, fit to be shown as the check's output:
// whatever would let a field reach beyond its place in the request is refused.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "muster/v1/types.pb.h"
#include "server/health/probe.h"
#include "server/health/target.h"

namespace muster::health {

struct HttpPlan {
  Target target;
  absl::Duration timeout;
  std::string request;  // head and body
  bool head = false;    // the method is HEAD: the answer has no body
  std::vector<std::pair<unsigned, unsigned>> expected;
  std::string body_contains;
};

absl::StatusOr<HttpPlan> PlanHttp(const v1::Check::Http& http, const InstanceTarget& instance,
                                  absl::Duration timeout);

// Of an answer with this status, whatever its body is.
ProbeResult::Outcome JudgeStatus(const HttpPlan& plan, unsigned status);

}  // namespace muster::health

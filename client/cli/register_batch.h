// Several instances registered by one call.
#pragma once

#include <string>
#include <vector>

#include "client/cli/context.h"
#include "muster/v1/registry.pb.h"

namespace muster::cli {

// "registered default/web id web-1 incarnation 7 ttl 30s", escaped.
std::string RegisteredText(const v1::RegisterResponse& response);

// Says of each what became of it; kFailed when one was not registered. Each is registered or not by
// itself. REQUIRES: at most 1,000.
int RegisterBatch(Context& context, const std::vector<v1::RegisterRequest>& requests);

}  // namespace muster::cli

// Files of instances to register, YAML or JSON.
//
//   service: web                     instances:
//   port: 8080                         - {service: web, id: web-1, port: 8080}
//   ttl: 15s                           - {service: web, id: web-2, port: 8081}
//   checks: [{http: {url: /health}}]
//
// The keys of an instance are those of v1.Instance, and ttl and permanent of v1.RegisterRequest.
// Several documents, or a list `instances`, are several instances. In a document that is JSON the
// body of a check is base64, as it is in all proto JSON.
//
// Pure. Errors: INVALID_ARGUMENT that begins with `source` and the line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "muster/v1/registry.pb.h"

namespace muster::cli {

// At least one, at most 1,000. The name of a service may be missing.
absl::StatusOr<std::vector<v1::RegisterRequest>> ParseInstances(const std::string& text,
                                                                std::string_view source);

}  // namespace muster::cli

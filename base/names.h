// Names of services, namespaces and hosts: what they may be, and what is wrong with one.
//
// Thread safety: pure. Cost: nothing is built unless a rule is broken. Messages are safe to print.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace muster::base {

// 1-128 of A-Z a-z 0-9 . _ -. Errors: INVALID_ARGUMENT, NAME_INVALID, without a field; the message
// calls the name `what`.
absl::Status CheckName(std::string_view what, std::string_view name);

// What is wrong with a host name (RFC 1123, and '_'), which is no IP address: `is "x"; the parts…`;
// "" when nothing is. REQUIRES: not empty.
std::string HostNameProblem(std::string_view host);

}  // namespace muster::base

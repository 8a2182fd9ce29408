// What a caller is told whose request is no message of the call, or holds text that is not UTF-8.
// gRPC alone would say UNIMPLEMENTED without a word.
#pragma once

#include "absl/status/status.h"

namespace muster::rpc {

// INVALID_ARGUMENT.
absl::Status Unreadable();

}  // namespace muster::rpc

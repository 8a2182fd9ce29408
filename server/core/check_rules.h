// The checks of an instance: what is allowed and what unset fields become.
//
// Thread safety: pure. Errors: INVALID_ARGUMENT with the field's path, "instance.checks[2].id".
#pragma once

#include "absl/status/statusor.h"
#include "muster/v1/types.pb.h"

namespace muster::core {

using Checks = google::protobuf::RepeatedPtrField<v1::Check>;

// With ids filled in; other unset fields stay unset. Fields that this version doesn't know go.
absl::StatusOr<Checks> NormalChecks(const Checks& given);

// The worst of the checks' initial states; no checks: PASSING.
v1::Health InitialHealth(const Checks& checks);

}  // namespace muster::core

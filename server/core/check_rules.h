// The checks of an instance: what is allowed and what unset fields become.
//
// Thread safety: pure. Errors: INVALID_ARGUMENT with the field's path, "instance.checks[2].id".
#pragma once

#include "absl/status/status.h"
#include "muster/v1/types.pb.h"

namespace muster::core {

using Checks = google::protobuf::RepeatedPtrField<v1::Check>;

// Fills ids in; other unset fields stay unset. Fields that this version doesn't know go.
absl::Status NormaliseChecks(Checks& checks);

// The state that a check has before its first result.
v1::Health InitialStatus(const v1::Check& check);

}  // namespace muster::core

// The checks of an instance: what is allowed and what unset fields become.
//
// Thread safety: pure. Errors: INVALID_ARGUMENT with the field's path, "instance.checks[2].id".
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "muster/v1/types.pb.h"
#include "server/core/field_rules.h"

namespace muster::core {

using Checks = google::protobuf::RepeatedPtrField<v1::Check>;

// Fills ids in; other unset fields stay unset. Fields that this version doesn't know go. `port` is
// the instance's, 0 = none.
absl::Status NormaliseChecks(Checks& checks, uint32_t port);
// The same of one, whose id is not filled in. `ref` is where it stands.
absl::Status NormaliseCheck(v1::Check& check, const FieldRef& ref, uint32_t port);

// Of a check that isn't of kind ttl, with what unset fields stand for.
struct CheckTimes {
  absl::Duration interval;
  absl::Duration failing_interval;
  absl::Duration timeout;
};
CheckTimes TimesOf(const v1::Check& check);

// The state that a check has before its first result.
v1::Health InitialStatus(const v1::Check& check);

}  // namespace muster::core

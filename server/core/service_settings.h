// Settings of a service: what they may hold, and what follows from them.
//
// Thread safety: pure. Errors: INVALID_ARGUMENT naming the field.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "muster/v1/types.pb.h"

namespace muster::core {

using SettingsPtr = std::shared_ptr<const v1::ServiceSettings>;

// `min_ttl` to `max_ttl`: the server's limits for leases.
absl::Status CheckSettings(const v1::ServiceSettings& settings, absl::Duration min_ttl,
                           absl::Duration max_ttl);

// As they are kept, without what this release doesn't know. Null: nothing is set.
SettingsPtr KeptSettings(const v1::ServiceSettings& settings);

// Either may be null.
bool SameSettings(const v1::ServiceSettings* a, const v1::ServiceSettings* b);

// Whole milliseconds, as leases have them; zero when there is none.
absl::Duration DefaultTtlOf(const v1::ServiceSettings* settings);

}  // namespace muster::core

// Durations as text: "30s", "1h30m", "250ms".
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace muster::base {

// A number with a unit (ms, s, m, h), several in a row allowed; "0" as well. Not negative.
// Errors: INVALID_ARGUMENT that quotes the text.
absl::StatusOr<absl::Duration> ParseDuration(std::string_view text);

// The shortest text that ParseDuration reads back, to the millisecond.
std::string FormatDuration(absl::Duration duration);

}  // namespace muster::base

// Whether options can be used, and as what.
//
// Thread safety: pure. Errors: INVALID_ARGUMENT that names the option and what is allowed.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "muster/client/caller.h"
#include "muster/client/options.h"

namespace muster::client {

// Longer durations, infinite ones too, mean this.
inline constexpr absl::Duration kLongest = absl::Hours(24 * 365);

absl::Status InvalidOption(std::string_view option, std::string_view why);

absl::Status CheckOptions(const Options& options);
absl::Status CheckOptions(const BalanceOptions& options);
absl::Status CheckOptions(const CallerOptions& options);

}  // namespace muster::client

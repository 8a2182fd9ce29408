#include "base/duration_text.h"

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/text.h"

namespace muster::base {

absl::StatusOr<absl::Duration> ParseDuration(std::string_view text) {
  absl::Duration out;
  const bool other_unit = text.find_first_not_of("0123456789.hms") != std::string_view::npos;
  if (other_unit || !absl::ParseDuration(Av(text), &out) || out > absl::Hours(24 * 366)) {
    return MakeError(absl::StatusCode::kInvalidArgument, Reason::kInvalidField,
                     absl::StrCat("\"", EscapeForTerminal(text.substr(0, 64)),
                                  "\" is no duration; allowed: like 250ms, 30s, 1h30m, at most "
                                  "8784h"));
  }
  return out;
}

std::string FormatDuration(absl::Duration duration) {
  return absl::FormatDuration(absl::Trunc(duration, absl::Milliseconds(1)));
}

}  // namespace muster::base

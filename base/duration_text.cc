#include "base/duration_text.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/text.h"

namespace muster::base {

absl::StatusOr<absl::Duration> ParseDuration(std::string_view text) {
  absl::Duration out;
  const absl::string_view given = Av(text);
  const bool other_unit =
      absl::EndsWith(given, "us") || absl::EndsWith(given, "ns") || absl::StrContains(given, "inf");
  if (other_unit || !absl::ParseDuration(given, &out) || out < absl::ZeroDuration() ||
      out > absl::Hours(24 * 366)) {
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

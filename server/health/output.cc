#include "server/health/output.h"

#include <algorithm>

#include "base/text.h"

namespace muster::health {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Bytes of the well-formed character that `text` begins with; 0 when there is none.
size_t CharacterLength(std::string_view text) {
  for (size_t length = 1; length <= std::min<size_t>(4, text.size()); ++length) {
    if (base::IsUtf8(text.substr(0, length))) return length;
  }
  return 0;
}

ProbeResult Result(ProbeResult::Outcome outcome, bool reached, std::string_view output) {
  return {.outcome = outcome, .reached = reached, .output = ToUtf8(output)};
}

}  // namespace

std::string ToUtf8(std::string_view text, size_t limit) {
  if (text.size() <= limit && base::IsUtf8(text)) return std::string(text);
  std::string out;
  while (!text.empty()) {
    const size_t length = CharacterLength(text);
    const std::string_view next = length == 0 ? kReplacement : text.substr(0, length);
    if (out.size() + next.size() > limit) break;
    out += next;
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

ProbeResult Passing(std::string_view output) {
  return Result(ProbeResult::Outcome::kPassing, true, output);
}

ProbeResult Failing(bool reached, std::string_view output) {
  return Result(ProbeResult::Outcome::kFailing, reached, output);
}

}  // namespace muster::health

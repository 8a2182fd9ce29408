// Text from outside, made safe to show.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace muster::base {

// Abseil may be built with a string_view of its own (Debian's is): how ours gets there and back.
inline absl::string_view Av(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view Sv(absl::string_view text) { return {text.data(), text.size()}; }

// Control characters and invalid UTF-8 become \xNN: no log line is broken and
// no terminal is driven by it.
std::string EscapeForTerminal(std::string_view text);

// In quotes, escaped, and cut when long.
std::string Quoted(std::string_view text);
// `'c' at 3`: the whole character that begins at byte `at`, escaped.
std::string CharacterAt(std::string_view text, size_t at);

// Well-formed, as RFC 3629 has it.
bool IsUtf8(std::string_view text);

// Well-formed UTF-8 without control characters.
bool IsPrintableUtf8(std::string_view text);

// A-Z to a-z, the rest as it is.
std::string AsciiLower(std::string_view text);

// The candidate that `word` was probably meant to be; "" when none is near.
std::string NearestName(std::string_view word, absl::Span<const std::string_view> candidates);

}  // namespace muster::base

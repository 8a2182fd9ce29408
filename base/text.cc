#include "base/text.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace muster::base {
namespace {

constexpr size_t kMaxQuoted = 64;  // bytes

bool IsContinuation(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

// Length of the well-formed UTF-8 character at the start of `text`; 0 when there is none.
// RFC 3629: no overlong forms, no surrogates, at most U+10FFFF.
size_t CharacterSize(std::string_view text) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = at(0);
  if (lead < 0x80) return 1;
  const size_t size = lead >= 0xC2 && lead <= 0xDF   ? 2
                      : lead >= 0xE0 && lead <= 0xEF ? 3
                      : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                     : 0;
  if (size == 0 || text.size() < size) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((at(i) & 0xC0) != 0x80) return 0;
  }
  const uint8_t second = at(1);
  if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
      (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F)) {
    return 0;
  }
  return size;
}

// C0 controls, DEL, the C1 controls U+0080 to U+009F, and what breaks or turns a line: U+2028 to
// U+202E, U+2066 to U+2069.
bool IsControl(std::string_view text, size_t size) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  if (size == 1) return at(0) < 0x20 || at(0) == 0x7F;
  if (size == 2) return at(0) == 0xC2 && at(1) < 0xA0;
  if (size != 3 || at(0) != 0xE2) return false;
  return (at(1) == 0x80 && at(2) >= 0xA8 && at(2) <= 0xAE) ||
         (at(1) == 0x81 && at(2) >= 0xA6 && at(2) <= 0xA9);
}

// How many bytes at the start of `text` are printable ASCII, as nearly all texts are to the end.
size_t PrintableAscii(std::string_view text) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  size_t n = 0;
  // Eight at a time: what is none sets the high bit of its own byte. It may also spoil the next,
  // but the whole word is left to the loop below then.
  for (uint64_t word; n + sizeof(word) <= text.size(); n += sizeof(word)) {
    std::memcpy(&word, text.data() + n, sizeof(word));
    const uint64_t below_space = word - kOnes * 0x20;
    const uint64_t delete_or_above = word + kOnes * 0x01;
    if (((word | below_space | delete_or_above) & (kOnes * 0x80)) != 0) break;
  }
  while (n < text.size() && text[n] >= 0x20 && text[n] < 0x7F) ++n;
  return n;
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replace, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string EscapeForTerminal(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t size = CharacterSize(text);
    if (size > 0 && !IsControl(text, size)) {
      out.append(text.substr(0, size));
      text.remove_prefix(size);
      continue;
    }
    const size_t bad = std::max<size_t>(size, 1);
    for (char c : text.substr(0, bad)) {
      absl::StrAppend(&out, "\\x", absl::Hex(static_cast<uint8_t>(c), absl::kZeroPad2));
    }
    text.remove_prefix(bad);
  }
  return out;
}

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t size = CharacterSize(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

bool IsPrintableUtf8(std::string_view text) {
  text.remove_prefix(PrintableAscii(text));
  while (!text.empty()) {
    const size_t size = CharacterSize(text);
    if (size == 0 || IsControl(text, size)) return false;
    text.remove_prefix(size);
  }
  return true;
}

std::string AsciiLower(std::string_view text) { return absl::AsciiStrToLower(Av(text)); }

std::string CharacterAt(std::string_view text, size_t at) {
  size_t end = at + 1;
  while (end < text.size() && end - at < 4 && IsContinuation(text[end])) ++end;
  return absl::StrCat("'", EscapeForTerminal(text.substr(at, end - at)), "' at ", at);
}

std::string Quoted(std::string_view value) {
  if (value.size() <= kMaxQuoted) return absl::StrCat("\"", EscapeForTerminal(value), "\"");
  size_t end = kMaxQuoted;
  while (end > 0 && IsContinuation(value[end])) --end;
  return absl::StrCat("\"", EscapeForTerminal(value.substr(0, end)), "…\"");
}

std::string NearestName(std::string_view word, absl::Span<const std::string_view> candidates) {
  size_t best = std::max<size_t>(word.size() / 3, 1) + 1;
  std::string_view nearest;
  for (std::string_view candidate : candidates) {
    const size_t distance = EditDistance(word, candidate);
    if (distance < best) {
      best = distance;
      nearest = candidate;
    }
  }
  return std::string(nearest);
}

}  // namespace muster::base

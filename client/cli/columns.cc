#include "client/cli/columns.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace muster::cli {
namespace {

struct Range {
  uint32_t first;
  uint32_t last;
};

// Blocks of which most characters are wide (Unicode Standard Annex 11).
constexpr Range kWide[] = {
    {0x1100, 0x115F},   {0x231A, 0x231B},  {0x23E9, 0x23F3}, {0x25FD, 0x25FE},   {0x2600, 0x27BF},
    {0x2B1B, 0x2B55},   {0x2E80, 0xA4CF},  {0xA960, 0xA97F}, {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},
    {0xFE10, 0xFE6F},   {0xFF00, 0xFF60},  {0xFFE0, 0xFFE6}, {0x16FE0, 0x18DFF}, {0x1AFF0, 0x1B2FF},
    {0x1F000, 0x1FAFF}, {0x20000, 0x3FFFD}};

size_t SizeOf(char lead) {
  const auto byte = static_cast<uint8_t>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

// Takes the first character off.
size_t NextColumns(std::string_view* text) {
  const size_t size = std::min(SizeOf(text->front()), text->size());
  uint32_t code = static_cast<uint8_t>(text->front());
  if (size > 1) code &= 0x7Fu >> size;
  for (size_t i = 1; i < size; ++i) {
    code = (code << 6) | (static_cast<uint8_t>((*text)[i]) & 0x3Fu);
  }
  text->remove_prefix(size);
  const bool wide = std::any_of(std::begin(kWide), std::end(kWide), [&](const Range& range) {
    return code >= range.first && code <= range.last;
  });
  return wide ? 2 : 1;
}

}  // namespace

size_t Columns(std::string_view text) {
  size_t columns = 0;
  while (!text.empty()) columns += NextColumns(&text);
  return columns;
}

std::string CutTo(std::string_view text, size_t columns) {
  std::string_view rest = text;
  size_t used = 0;
  size_t fits = 0;  // bytes that leave a column for "…"
  while (!rest.empty()) {
    used += NextColumns(&rest);
    if (used > columns) return std::string(text.substr(0, fits)) + "…";
    if (used < columns) fits = text.size() - rest.size();
  }
  return std::string(text);
}

}  // namespace muster::cli

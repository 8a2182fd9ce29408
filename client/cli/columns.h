// How wide a text is on a terminal. Pure. REQUIRES of all: UTF-8 without control characters, as
// base::EscapeForTerminal makes it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace muster::cli {

// One for each character, two for those of East Asian scripts and pictures. No less than a terminal
// takes, as long as that has the same opinion of what is wide.
size_t Columns(std::string_view text);

// As it is when it fits; else its beginning and "…", `columns` in all. REQUIRES: columns > 0.
std::string CutTo(std::string_view text, size_t columns);

}  // namespace muster::cli

// In which order the contestants of a round are measured.
//
// Whoever is measured finds the machine as the one before left it: busy with what that one put off,
// its own data out of the caches. So neighbours (the first two, the next two...) swap places from
// round to round, such that with three or more none comes after itself, that of four the two of a
// pair come after each other contestant equally often, and such that the two of a pair, which are
// compared, are measured close to each other. Of two alone, each is first in turn.
#pragma once

#include <cstddef>
#include <vector>

namespace muster::bench {

// Places 0 to contestants - 1, each once. It repeats after four rounds.
std::vector<size_t> OrderOf(int round, size_t contestants);

}  // namespace muster::bench

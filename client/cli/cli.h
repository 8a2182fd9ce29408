// The whole program but for `main`: flags, sub-commands, exit codes.
//
//   int code = RunCli({"discover", "web"}, {std::cin, std::cout, std::cerr}, clock, rng);
//
// Thread safety: none; one call at a time. Errors: 0 done, 1 a call failed, 2 wrong usage; the last
// two with one line on `err`. Reads MUSTER_ADDR, MUSTER_TOKEN, MUSTER_CA, MUSTER_CERT, MUSTER_KEY
// and NO_COLOR.
#pragma once

#include <cstddef>
#include <iosfwd>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/rng.h"

namespace muster::cli {

struct Stdio {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool in_is_terminal = false;
  bool out_is_terminal = false;
  size_t out_columns = 0;  // of the terminal; 0 = unknown
};

// `args` without the program's name.
int RunCli(const std::vector<std::string>& args, Stdio stdio, const base::Clock& clock,
           base::Rng& rng);

}  // namespace muster::cli

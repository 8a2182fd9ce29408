// muster: the command line.
#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>

#include "client/cli/cli.h"

namespace {

size_t TerminalColumns() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

}  // namespace

int main(int argc, char** argv) {
  // What gRPC logs of a failed connection comes in our own words, on one line.
  setenv("GRPC_VERBOSITY", "NONE", 0);
  // A reader that has gone is an error of the output, with a message, not a silent end.
  std::signal(SIGPIPE, SIG_IGN);
  muster::base::SystemRng rng;
  const muster::cli::Stdio stdio{
      std::cin,         std::cout, std::cerr, isatty(STDIN_FILENO) == 1, isatty(STDOUT_FILENO) == 1,
      TerminalColumns()};
  return muster::cli::RunCli({argv + 1, argv + argc}, stdio, muster::base::RealClock(), rng);
}

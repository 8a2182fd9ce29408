// The command line of musterd, with file and environment merged in:
// default < file < environment < flag.
//
//   FlagsResult result = ParseFlags(argc, argv, lookup);
//   if (!result.run) { print result.out and result.err; return result.exit_code; }
//   ... run the server with result.config ...
//
// Reads the configuration file; with --check-config also the files that the configuration names.
// Prints nothing and ends nothing. Thread safety: pure but for those files.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/types/span.h"
#include "server/app/config.h"

namespace muster::app {

struct FlagsResult {
  bool run = false;         // start the server; otherwise print and exit
  ResolvedConfig config{};  // when run
  int exit_code = 0;        // 0; 1 the configuration is bad; 2 the command line is
  std::string out;          // for stdout
  std::string err;          // for stderr
};

// The value of an environment variable, nothing when it is not set. An empty one counts as not set.
using EnvironmentLookup = std::function<std::optional<std::string>(const std::string& name)>;

FlagsResult ParseFlags(int argc, const char* const* argv, const EnvironmentLookup& environment);

// A flag that sets a field of the configuration.
struct Setting {
  std::string_view flag;   // "--tls-cert"
  std::string_view field;  // "tls.cert"
  std::string_view value;  // what the help calls its value; "" for a switch
  std::string_view help;
};
absl::Span<const Setting> Settings();

// "--tls-cert" -> "MUSTER_TLS_CERT".
std::string EnvironmentName(std::string_view flag);

}  // namespace muster::app

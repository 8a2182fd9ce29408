// muster: the command line.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>

#include "client/cli/context.h"

namespace muster::cli {
namespace {

void AddGlobals(CLI::App& app, Context& context, std::string& output, bool& no_color) {
  app.set_version_flag("--version", "muster " MUSTER_VERSION);
  app.add_option("--addr", context.addresses, "Servers, host:port separated by commas")
      ->envname("MUSTER_ADDR");
  app.add_option("--token", context.token, "Bearer token")->envname("MUSTER_TOKEN");
  app.add_option("--token-file", context.token_file, "File that holds the bearer token");
  app.add_option("--ca", context.ca_file, "Certificates to trust, PEM; turns TLS on");
  app.add_option("--cert", context.cert_file, "Certificate of this client, PEM");
  app.add_option("--key", context.key_file, "Its key, PEM");
  app.add_flag("--tls", context.tls, "TLS with the certificates that the system trusts");
  app.add_option("--timeout", context.timeout, "Of one call, like 10s")->capture_default_str();
  app.add_option("-o,--output", output, "table or json")->check(CLI::IsMember({"table", "json"}));
  app.add_flag("--no-color", no_color, "No colours, as with NO_COLOR");
}

int Main(int argc, char** argv) {
  base::SystemRng rng;
  Context context{std::cin, std::cout, std::cerr, base::RealClock(), rng};
  CLI::App app("Registers services, finds them and follows them.", "muster");
  std::string output = "table";
  bool no_color = false;
  app.fallthrough();
  app.require_subcommand(1);
  AddGlobals(app, context, output, no_color);
  AddRegisterCommand(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return context.Usage(e.what());
  }
  const char* plain = std::getenv("NO_COLOR");
  context.json = output == "json";
  context.colours = isatty(STDOUT_FILENO) == 1 && !no_color && (plain == nullptr || *plain == '\0');
  context.interactive = isatty(STDIN_FILENO) == 1;
  return context.run();
}

}  // namespace
}  // namespace muster::cli

int main(int argc, char** argv) { return muster::cli::Main(argc, argv); }

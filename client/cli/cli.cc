#include "client/cli/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <optional>
#include <ostream>

#include "client/cli/context.h"
#include "client/cli/words.h"

namespace muster::cli {
namespace {

struct Globals {
  std::string output = "table";
  bool no_color = false;
};

void AddGlobals(CLI::App& app, Context& context, Globals& globals) {
  app.set_version_flag("--version", "muster " MUSTER_VERSION);
  app.add_option("--addr", context.addresses,
                 "Servers, host:port separated by commas; the first that answers is asked")
      ->envname("MUSTER_ADDR")
      ->capture_default_str();
  app.add_option("--token", context.token, "Bearer token")->envname("MUSTER_TOKEN");
  app.add_option("--token-file", context.token_file, "File that holds the bearer token");
  app.add_option("--ca", context.ca_file, "Certificates to trust, PEM; turns TLS on")
      ->envname("MUSTER_CA");
  app.add_option("--cert", context.cert_file, "Certificate of this client, PEM")
      ->envname("MUSTER_CERT");
  app.add_option("--key", context.key_file, "Its key, PEM")->envname("MUSTER_KEY");
  app.add_flag("--tls", context.tls, "TLS with the certificates that the system trusts");
  app.add_option("--timeout", context.timeout, "Of one call, like 10s")->capture_default_str();
  app.add_option("-o,--output", globals.output, "table or json")
      ->check(CLI::IsMember({"table", "json"}));
  app.add_flag("--no-color", globals.no_color, "No colours, as with NO_COLOR");
}

void AddCommands(CLI::App& app, Context& context) {
  AddRegisterCommand(app, context);
  AddDeregisterCommand(app, context);
  AddDrainCommand(app, context);
  AddHeartbeatCommand(app, context);
  AddReportCommand(app, context);
  AddCheckCommand(app, context);
  AddDiscoverCommand(app, context);
  AddWatchCommand(app, context);
  AddResolveCommand(app, context);
  AddDoctorCommand(app, context);
  AddRunCommand(app, context);
  AddWaitCommand(app, context);
  AddServicesCommand(app, context);
  AddDescribeCommand(app, context);
  AddMaintenanceCommand(app, context);
  AddSettingsCommand(app, context);
  AddHealthCommand(app, context);
  AddAdminCommands(app, context);
  AddLeasesCommand(app, context);
  AddBackupCommands(app, context);
  AddSalvageCommand(app, context);
  for (CLI::App* command : app.get_subcommands(nullptr)) {
    command->footer(command->get_footer() +
                    "\nFlags of all commands, such as --addr and -o json: muster --help");
  }
  CheckValues(app);
}

// The parser takes words from the end of its list.
std::vector<std::string> Reversed(std::vector<std::string> words) {
  std::reverse(words.begin(), words.end());
  return words;
}

// What was printed has to have arrived.
int Finish(Context& context, int code) {
  context.out.flush();
  if (context.out.good() || code != kDone) return code;
  return context.Fail(absl::DataLossError("standard output can't be written"));
}

// Nothing when there is something to run; else what to exit with, and all has been said.
std::optional<int> Parse(CLI::App& app, const std::vector<std::string>& args, Context& context) {
  const std::string empty = FlagWithoutValue(app, args);
  if (!empty.empty()) return context.Usage(empty + ": the value is empty");
  try {
    app.parse(Reversed(WithHelpFlag(args)));
  } catch (const CLI::Success& e) {
    const std::string unknown = app.get_subcommands().empty() ? UnknownWord(app) : "";
    if (!unknown.empty()) return context.Usage(unknown);
    return Finish(context, app.exit(e, context.out, context.err));
  } catch (const CLI::ParseError& e) {
    if (!app.get_subcommands().empty()) context.command = app.get_subcommands().front()->get_name();
    return context.Usage(UsageText(app, e));
  }
  context.command = app.get_subcommands().front()->get_name();
  return std::nullopt;
}

}  // namespace

int RunCli(const std::vector<std::string>& args, Stdio stdio, const base::Clock& clock,
           base::Rng& rng) {
  Context context{stdio.in, stdio.out, stdio.err, clock, rng};
  CLI::App app("Registers services, finds them and follows them.", "muster");
  Globals globals;
  app.fallthrough();
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 1 a call failed, 2 wrong usage.\n"
      "Help of a command: muster help COMMAND\n"
      "Example: muster --addr 10.0.0.5:8502 discover web");
  AddGlobals(app, context, globals);
  AddCommands(app, context);
  if (const auto code = Parse(app, args, context)) return *code;
  const char* plain = std::getenv("NO_COLOR");
  context.json = globals.output == "json";
  context.colours =
      stdio.out_is_terminal && !globals.no_color && (plain == nullptr || *plain == '\0');
  context.interactive = stdio.in_is_terminal;
  context.out_is_terminal = stdio.out_is_terminal;
  context.out_columns = stdio.out_columns;
  return Finish(context, context.run());
}

}  // namespace muster::cli

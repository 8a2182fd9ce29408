#include "client/cli/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <ostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/text.h"
#include "client/cli/context.h"

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
  // Like --ca "$CA" when CA isn't set: not the same as no --ca.
  const CLI::Validator given(
      [](std::string& name) { return name.empty() ? std::string("no file is named") : ""; }, "");
  app.add_option("--token-file", context.token_file, "File that holds the bearer token")
      ->check(given);
  app.add_option("--ca", context.ca_file, "Certificates to trust, PEM; turns TLS on")->check(given);
  app.add_option("--cert", context.cert_file, "Certificate of this client, PEM")->check(given);
  app.add_option("--key", context.key_file, "Its key, PEM")->check(given);
  app.add_flag("--tls", context.tls, "TLS with the certificates that the system trusts");
  app.add_option("--timeout", context.timeout, "Of one call, like 10s")->capture_default_str();
  app.add_option("-o,--output", globals.output, "table or json")
      ->check(CLI::IsMember({"table", "json"}));
  app.add_flag("--no-color", globals.no_color, "No colours, as with NO_COLOR");
}

void AddCommands(CLI::App& app, Context& context) {
  AddRegisterCommand(app, context);
  AddDeregisterCommand(app, context);
  AddHeartbeatCommand(app, context);
  AddDiscoverCommand(app, context);
  AddWatchCommand(app, context);
  AddWaitCommand(app, context);
  AddServicesCommand(app, context);
  AddDescribeCommand(app, context);
  AddAdminCommands(app, context);
  AddLeasesCommand(app, context);
  AddBackupCommands(app, context);
  AddSalvageCommand(app, context);
  for (CLI::App* command : app.get_subcommands(nullptr)) {
    command->footer(command->get_footer() +
                    "\nFlags of all commands, such as --addr and -o json: muster --help");
  }
}

// "; did you mean …?" or "".
std::string Suggestion(const std::string& word, const std::vector<std::string>& names) {
  const std::vector<std::string_view> candidates(names.begin(), names.end());
  const std::string nearest = base::NearestName(word, candidates);
  return nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?");
}

void AddFlagNames(const CLI::App& app, std::vector<std::string>* names) {
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names->push_back("--" + name);
  }
}

// What the parser could make nothing of, in our words; "" when it is something else.
std::string UnknownWord(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  std::vector<std::string> words = app.remaining(true);
  words.erase(std::remove(words.begin(), words.end(), "--"), words.end());
  if (words.empty()) return "";
  const std::string word = words.front().substr(0, words.front().find('='));
  std::vector<std::string> names;
  if (absl::StartsWith(word, "-")) {
    AddFlagNames(app, &names);
    for (const CLI::App* command : commands) AddFlagNames(*command, &names);
    return absl::StrCat("no flag '", word, "'", Suggestion(word, names));
  }
  if (!commands.empty()) {
    return absl::StrCat(commands.front()->get_name(), ": unexpected '", words.front(), "'");
  }
  for (const CLI::App* command : app.get_subcommands(nullptr)) names.push_back(command->get_name());
  return absl::StrCat("no command '", words.front(), "'", Suggestion(words.front(), names));
}

std::string UsageText(const CLI::App& app, const CLI::ParseError& error) {
  const bool unknown =
      dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr ||
      (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr && app.get_subcommands().empty());
  const std::string text = unknown ? UnknownWord(app) : "";
  if (!text.empty()) return text;
  if (unknown) return "a command is needed";
  const std::string what = absl::StrReplaceAll(error.what(), {{"\n", " "}});
  const auto commands = app.get_subcommands();
  return commands.empty() ? what : absl::StrCat(commands.front()->get_name(), ": ", what);
}

// The parser takes words from the end of its list.
std::vector<std::string> Reversed(std::vector<std::string> words) {
  std::reverse(words.begin(), words.end());
  return words;
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
      "Example: muster --addr 10.0.0.5:8502 discover web");
  AddGlobals(app, context, globals);
  AddCommands(app, context);
  try {
    app.parse(Reversed(args));
  } catch (const CLI::Success& e) {
    return app.exit(e, stdio.out, stdio.err);
  } catch (const CLI::ParseError& e) {
    if (!app.get_subcommands().empty()) context.command = app.get_subcommands().front()->get_name();
    return context.Usage(UsageText(app, e));
  }
  context.command = app.get_subcommands().front()->get_name();
  const char* plain = std::getenv("NO_COLOR");
  context.json = globals.output == "json";
  context.colours =
      stdio.out_is_terminal && !globals.no_color && (plain == nullptr || *plain == '\0');
  context.interactive = stdio.in_is_terminal;
  context.out_is_terminal = stdio.out_is_terminal;
  const int code = context.run();
  stdio.out.flush();
  if (stdio.out.good() || code != kDone) return code;
  return context.Fail(absl::DataLossError("standard output can't be written"));
}

}  // namespace muster::cli

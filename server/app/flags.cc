#include "server/app/flags.h"

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/clock.h"
#include "base/errors.h"
#include "base/text.h"
#include "server/app/config_yaml.h"
#include "server/app/version.h"
#include "server/health/health_checks.h"
#include "server/security/certificates.h"
#include "server/security/token_store.h"

namespace muster::app {
namespace {

constexpr int kBadConfig = 1;
constexpr int kWrongUsage = 2;
constexpr std::string_view kConfigFlag = "--config";
constexpr size_t kConfigFileMax = 1 << 20;

constexpr Setting kSettings[] = {
    {"--data-dir", "data_dir", "DIR", "directory of the store"},
    {"--grpc-listen", "grpc_listen", "HOST:PORT", "address of the gRPC API; port 0: a free one"},
    {"--http-listen", "http_listen", "HOST:PORT|off", "reserved for the HTTP API"},
    {"--dns-listen", "dns_listen", "HOST:PORT|off", "reserved for DNS"},
    {"--storage", "storage", "rocksdb|memory", "where the registry is kept"},
    {"--tls-cert", "tls.cert", "FILE", "certificate chain, PEM; goes with --tls-key"},
    {"--tls-key", "tls.key", "FILE", "private key, PEM; goes with --tls-cert"},
    {"--client-ca", "tls.client_ca", "FILE", "clients need a certificate of this authority, PEM"},
    {"--tokens", "tokens", "FILE", "bearer tokens; read again when the file changes"},
    {"--insecure", "insecure", "",
     "allow listeners beyond loopback without TLS and authentication"},
    {"--log-level", "log_level", "debug|info|warn|error", "log lines from this level up"},
    {"--log-format", "log_format", "text|json", "form of the log lines"},
};

// What the command line holds, before any of it is checked.
struct CommandLine {
  std::optional<std::string> config_file;
  std::vector<std::optional<std::string>> values;  // in the order of kSettings
  bool print_config = false;
  bool check_config = false;
};

FlagsResult Failure(int exit_code, std::string_view message) {
  FlagsResult result;
  result.exit_code = exit_code;
  result.err = absl::StrCat("musterd: ", base::Av(message), "\n");
  return result;
}

FlagsResult Text(std::string text) {
  FlagsResult result;
  result.out = std::move(text);
  return result;
}

void AddOptions(CLI::App& app, CommandLine& line) {
  app.set_help_flag("-h,--help", "this text");
  app.set_version_flag("--version", absl::StrCat("musterd ", base::Av(Version())), "the version");
  app.add_option(std::string(kConfigFlag), line.config_file, "configuration file, YAML")
      ->type_name("FILE");
  line.values.resize(std::size(kSettings));
  for (size_t i = 0; i < std::size(kSettings); ++i) {
    const Setting& setting = kSettings[i];
    const std::string flag(setting.flag);
    if (setting.value.empty()) {
      app.add_flag(flag, line.values[i], std::string(setting.help));
    } else {
      app.add_option(flag, line.values[i], std::string(setting.help))
          ->type_name(std::string(setting.value));
    }
  }
  app.add_flag("--print-config", line.print_config, "print the configuration in force, as YAML");
  app.add_flag("--check-config", line.check_config,
               "check the configuration and the files it names");
  app.footer(
      "Every flag with a value, and --insecure, is also an environment variable: MUSTER_DATA_DIR "
      "for --data-dir.\nA flag wins over the environment, the environment over the file.");
}

std::string UsageError(const CLI::App& app, const CLI::ParseError& error) {
  std::string message = base::EscapeForTerminal(error.what());
  const std::vector<std::string> unknown = app.remaining();
  if (!unknown.empty()) {
    std::vector<std::string_view> known = {kConfigFlag, "--print-config", "--check-config",
                                           "--version", "--help"};
    for (const Setting& setting : kSettings) known.push_back(setting.flag);
    const std::string name = unknown[0].substr(0, unknown[0].find('='));
    const std::string nearest = base::NearestName(name, known);
    message = absl::StrCat("unknown argument \"", base::EscapeForTerminal(unknown[0]), "\"");
    if (!nearest.empty()) absl::StrAppend(&message, "; did you mean ", nearest, "?");
  }
  return absl::StrCat(message, "\ntry musterd --help");
}

FlagsResult EmptyValueOf(std::string_view flag) {
  return Failure(kWrongUsage,
                 absl::StrCat(base::Av(flag), " is given an empty value\ntry musterd --help"));
}

// An empty value is a script's variable that was not set: taken as it is, --tokens "" would let
// everybody in. Nothing when there is none.
std::optional<FlagsResult> EmptyValue(const CommandLine& line) {
  std::string_view flag = line.config_file == "" ? kConfigFlag : "";
  for (size_t i = 0; i < std::size(kSettings); ++i) {
    if (line.values[i] == "") flag = kSettings[i].flag;
  }
  if (flag.empty()) return std::nullopt;
  return EmptyValueOf(flag);
}

// "--data-dir=$UNSET": the parser would take the next word for the value, and a switch for on.
std::optional<FlagsResult> NoValue(const CLI::App& app, int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    std::string_view word = argv[i];
    if (!word.starts_with("--") || !word.ends_with('=')) continue;
    word.remove_suffix(1);
    if (app.get_option_no_throw(std::string(word)) != nullptr) return EmptyValueOf(word);
  }
  return std::nullopt;
}

// Nothing when the line is good.
std::optional<FlagsResult> ReadCommandLine(int argc, const char* const* argv, CommandLine& line) {
  CLI::App app("musterd, the muster server: services register, clients discover and watch them.",
               "musterd");
  try {
    AddOptions(app, line);
    if (auto empty = NoValue(app, argc, argv)) return empty;
    app.parse(argc, argv);
    return EmptyValue(line);
  } catch (const CLI::CallForHelp&) {
    return Text(app.help());
  } catch (const CLI::CallForVersion& version) {
    return Text(absl::StrCat(version.what(), "\n"));
  } catch (const CLI::ParseError& error) {
    return Failure(kWrongUsage, UsageError(app, error));
  }
}

absl::Status FileError(const std::string& path, std::string_view what) {
  return base::MakeError(
      absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
      absl::StrCat("file \"", base::EscapeForTerminal(path), "\" ", base::Av(what)));
}

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  std::string text(max + 1, '\0');
  // Reading a directory opens well and fails here.
  if (!in || in.read(text.data(), static_cast<std::streamsize>(text.size())).bad()) {
    return FileError(path, absl::StrCat("can't be read: ", std::strerror(errno)));
  }
  text.resize(static_cast<size_t>(in.gcount()));
  if (text.size() > max) {
    return FileError(path, absl::StrCat("is too large; allowed: ", max, " bytes"));
  }
  return text;
}

std::optional<std::string> Lookup(const EnvironmentLookup& environment, std::string_view flag) {
  auto value = environment(EnvironmentName(flag));
  if (value && value->empty()) value.reset();
  return value;
}

// Fills in file, environment and flags, and keeps for each field who set it.
class Merger {
 public:
  Merger(const CommandLine& line, const EnvironmentLookup& environment)
      : line_(line), environment_(environment) {}

  absl::Status Merge() {
    const std::optional<std::string> path =
        line_.config_file ? line_.config_file : Lookup(environment_, kConfigFlag);
    if (path) {
      auto text = ReadFile(*path, kConfigFileMax);
      if (!text.ok()) return text.status();
      file_ = base::EscapeForTerminal(*path);
      absl::Status status = ApplyYaml(*text, file_, config_);
      if (!status.ok()) return status;
    }
    for (size_t i = 0; i < std::size(kSettings); ++i) {
      const auto& flag = line_.values[i];
      const auto value = flag ? flag : Lookup(environment_, kSettings[i].flag);
      if (!value) continue;
      absl::Status status = ApplyText(kSettings[i].field, *value, config_);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // Says where the wrong value came from: a person looks there first.
  std::string Explain(const absl::Status& status) const {
    const std::string text(status.message());
    const std::string field = base::FieldOf(status);
    if (field.empty()) return text;
    for (size_t i = 0; i < std::size(kSettings); ++i) {
      if (kSettings[i].field != field) continue;
      const std::string name = EnvironmentName(kSettings[i].flag);
      if (line_.values[i]) return absl::StrCat(text, " (from ", base::Av(kSettings[i].flag), ")");
      if (Lookup(environment_, kSettings[i].flag)) return absl::StrCat(text, " (from ", name, ")");
    }
    return file_.empty() ? text : absl::StrCat(file_, ": ", text);
  }

  const config::v1::Config& config() const { return config_; }

 private:
  const CommandLine& line_;
  const EnvironmentLookup& environment_;
  std::string file_;
  config::v1::Config config_ = DefaultConfig();
};

absl::Status CheckFiles(const ResolvedConfig& config) {
  if (config.tls) {
    const auto& [cert, key, client_ca] = *config.tls;
    absl::Status status =
        security::CheckCertificates({cert, key, client_ca}, base::RealClock().System());
    if (!status.ok()) return status;
  }
  if (absl::Status status = health::HealthChecks::CheckFiles(config.health); !status.ok()) {
    return status;
  }
  if (config.tokens.empty()) return absl::OkStatus();
  return security::TokenStore(config.tokens).Load();
}

}  // namespace

FlagsResult ParseFlags(int argc, const char* const* argv, const EnvironmentLookup& environment) {
  CommandLine line;
  if (auto done = ReadCommandLine(argc, argv, line)) return *std::move(done);
  Merger merger(line, environment);
  if (absl::Status status = merger.Merge(); !status.ok()) {
    return Failure(kBadConfig, merger.Explain(status));
  }
  auto config = Resolve(merger.config());
  if (!config.ok()) return Failure(kBadConfig, merger.Explain(config.status()));
  if (line.print_config) return Text(ToYaml(merger.config()));
  if (line.check_config) {
    const absl::Status status = CheckFiles(*config);
    if (!status.ok()) return Failure(kBadConfig, base::Sv(status.message()));
    return Text("config ok\n");
  }
  FlagsResult result;
  result.run = true;
  result.config = *std::move(config);
  return result;
}

absl::Span<const Setting> Settings() { return kSettings; }

std::string EnvironmentName(std::string_view flag) {
  const absl::string_view bare = base::Av(flag.substr(flag.find_first_not_of('-')));
  return absl::StrCat("MUSTER_", absl::AsciiStrToUpper(absl::StrReplaceAll(bare, {{"-", "_"}})));
}

}  // namespace muster::app

// What every sub-command is given: where to write, how to reach a server, and how to report.
//
// Thread safety: none. Ownership: streams, clock and rng outlive the context.
#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/rng.h"
#include "client/cli/connection.h"
#include "muster/client/client.h"

namespace CLI {
class App;
}
namespace google::protobuf {
class Message;
}

namespace muster::cli {

constexpr int kDone = 0;
constexpr int kFailed = 1;
constexpr int kWrongUsage = 2;

struct Context {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  const base::Clock& clock;
  base::Rng& rng;

  // The sub-command that was named, or "".
  std::string command;

  // Flags of all sub-commands.
  std::string addresses = "127.0.0.1:8502";
  std::string token;
  std::string token_file;
  std::string ca_file;
  std::string cert_file;
  std::string key_file;
  bool tls = false;
  std::string timeout = "10s";
  bool json = false;
  bool colours = false;
  // Questions can be asked.
  bool interactive = false;
  bool out_is_terminal = false;
  // Of the terminal that is written to; 0 = there is none, or it doesn't say.
  size_t out_columns = 0;

  // Set by the sub-command that was named; returns the exit code.
  std::function<int()> run;
  std::unique_ptr<Connection> connection;

  // Says on stderr what failed. kFailed.
  int Fail(const absl::Status& status);
  // Fail, for the instance of a key: whoever left out the node is told of it.
  int FailKey(const absl::Status& status, const std::string& node);
  // One line on stderr that changes no exit code.
  void Note(const std::string& message);
  // Says on stderr what is wrong with the command line. kWrongUsage.
  int Usage(const absl::Status& status);
  int Usage(const std::string& message);
  // Usage when the command line is to blame (INVALID_ARGUMENT), else Fail.
  int Refuse(const absl::Status& status);
  // Opens the connection. kDone, or what to exit with after a message.
  int Connect();
  // What the flags say of servers and rights. As Connect.
  int ReadOptions(ConnectionOptions* options);
  // A client of the library to these servers, with all else as `options` say. As Connect.
  int MakeClient(ConnectionOptions flags, client::Options options,
                 std::optional<client::Client>* client);
  // One line of proto JSON, flushed.
  void PrintJson(const google::protobuf::Message& message);
};

// NOT_FOUND, with the system's words, when there is no such file or it can't be read.
absl::Status OpenFile(const std::string& path, std::ifstream* file);
// At most 16 MiB: more is INVALID_ARGUMENT.
absl::StatusOr<std::string> ReadFile(const std::string& path);

void AddAdminCommands(CLI::App& app, Context& context);
void AddBackupCommands(CLI::App& app, Context& context);
void AddCheckCommand(CLI::App& app, Context& context);
void AddDeregisterCommand(CLI::App& app, Context& context);
void AddDescribeCommand(CLI::App& app, Context& context);
void AddDiscoverCommand(CLI::App& app, Context& context);
void AddDoctorCommand(CLI::App& app, Context& context);
void AddDrainCommand(CLI::App& app, Context& context);
void AddHealthCommand(CLI::App& app, Context& context);
void AddHeartbeatCommand(CLI::App& app, Context& context);
void AddLeasesCommand(CLI::App& app, Context& context);
void AddMaintenanceCommand(CLI::App& app, Context& context);
void AddRegisterCommand(CLI::App& app, Context& context);
void AddReportCommand(CLI::App& app, Context& context);
void AddResolveCommand(CLI::App& app, Context& context);
void AddRunCommand(CLI::App& app, Context& context);
void AddSalvageCommand(CLI::App& app, Context& context);
void AddServicesCommand(CLI::App& app, Context& context);
void AddSettingsCommand(CLI::App& app, Context& context);
void AddWaitCommand(CLI::App& app, Context& context);
void AddWatchCommand(CLI::App& app, Context& context);

}  // namespace muster::cli

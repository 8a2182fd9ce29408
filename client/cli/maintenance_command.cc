// maintenance: takes an instance, or all of a node, out of the answers, or back in.
#include <CLI/CLI.hpp>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "client/cli/context.h"
#include "client/cli/render.h"
#include "muster/v1/discovery.grpc.pb.h"
#include "muster/v1/registry.grpc.pb.h"

namespace muster::cli {
namespace {

struct Flags {
  std::string turn, node, name_space, reason;
  std::vector<std::string> words;
};

std::string NameOf(const v1::SetMaintenanceRequest& request) {
  if (request.has_key()) return KeyText(request.key());
  return base::EscapeForTerminal(
      absl::StrCat(request.node().namespace_(), " node ", request.node().node()));
}

// It is kept of what isn't registered, too: whoever left out the node is told of it. And who takes
// an instance back in, that its node keeps it out.
void NoteWhatIs(Context& context, const v1::InstanceKey& key, bool on) {
  v1::DescribeInstanceRequest request;
  *request.mutable_key() = key;
  v1::DescribeInstanceResponse response;
  const absl::Status status = CallUnary<v1::Discovery>(
      *context.connection, &v1::Discovery::Stub::DescribeInstance, request, &response);
  if (status.ok() && !on && response.maintenance().node()) {
    context.Note(absl::StrCat(
        "it stays out: all of its node is in maintenance, which ends with muster maintenance off "
        "--node ",
        base::EscapeForTerminal(key.node()), " --namespace ",
        base::EscapeForTerminal(key.namespace_())));
  }
  if (!absl::IsNotFound(status)) return;
  context.Note(absl::StrCat("no such instance is registered now",
                            key.node().empty() ? "; one that has a node needs --node" : ""));
}

int RunMaintenance(Context& context, const Flags& flags) {
  const bool of_node = flags.words.empty() && !flags.node.empty();
  if (!of_node && flags.words.size() != 2) {
    return context.Usage("maintenance: expected NAME ID, or --node NODE for all of a node");
  }
  const std::string name_space = flags.name_space.empty() ? "default" : flags.name_space;
  v1::SetMaintenanceRequest request;
  if (of_node) {
    request.mutable_node()->set_namespace_(name_space);
    request.mutable_node()->set_node(flags.node);
  } else {
    request.mutable_key()->set_namespace_(name_space);
    request.mutable_key()->set_service(flags.words[0]);
    request.mutable_key()->set_node(flags.node);
    request.mutable_key()->set_id(flags.words[1]);
  }
  request.set_on(flags.turn == "on");
  request.set_reason(flags.reason);
  if (const int code = context.Connect()) return code;
  v1::SetMaintenanceResponse response;
  const absl::Status status = CallUnary<v1::Registry>(
      *context.connection, &v1::Registry::Stub::SetMaintenance, request, &response);
  if (!status.ok()) return context.Fail(status);
  if (context.json) {
    context.PrintJson(response);
  } else {
    context.out << "maintenance of " << NameOf(request) << " is " << flags.turn << std::endl;
  }
  if (!of_node) NoteWhatIs(context, request.key(), request.on());
  return kDone;
}

}  // namespace

void AddMaintenanceCommand(CLI::App& app, Context& context) {
  auto* command =
      app.add_subcommand("maintenance", "Take instances out of the answers, or back in");
  command->footer(
      "Kept until it is off: through restarts of service and server, and deregistration.\n"
      "Example: muster maintenance on web web-1 --node n1 --reason \"new disk\"\n"
      "Example: muster maintenance off --node n1");
  auto flags = std::make_shared<Flags>();
  command->add_option("turn", flags->turn, "on or off")
      ->required()
      ->check(CLI::IsMember({"on", "off"}));
  command->add_option("instance", flags->words, "NAME ID")->expected(0, 2);
  command->add_option("--node", flags->node, "With NAME ID: its node. Else: all of this node");
  command->add_option("--namespace", flags->name_space, "Unset = default");
  command->add_option("--reason", flags->reason, "For people: describe shows it");
  command->callback([&context, flags] {
    context.run = [&context, flags] { return RunMaintenance(context, *flags); };
  });
}

}  // namespace muster::cli

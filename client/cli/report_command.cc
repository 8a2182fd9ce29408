// report: what a check of an instance found.
#include <CLI/CLI.hpp>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "client/cli/context.h"
#include "client/cli/parse.h"
#include "client/cli/render.h"
#include "muster/v1/registry.grpc.pb.h"

namespace muster::cli {
namespace {

struct Flags {
  std::string service, id, check, status, output, node, name_space, incarnation;
};

absl::StatusOr<v1::ReportHealthRequest> MakeRequest(const Flags& flags) {
  v1::ReportHealthRequest request;
  v1::InstanceKey* key = request.mutable_key();
  key->set_namespace_(flags.name_space.empty() ? "default" : flags.name_space);
  key->set_service(flags.service);
  key->set_node(flags.node);
  key->set_id(flags.id);
  request.set_check_id(flags.check);
  const auto status = ParseHealth(flags.status);
  if (!status.ok()) return status.status();
  request.set_status(*status);
  request.set_output(flags.output);
  if (flags.incarnation.empty()) return request;
  const auto incarnation = ParseIncarnation(flags.incarnation);
  if (!incarnation.ok()) return incarnation.status();
  request.set_incarnation(*incarnation);
  return request;
}

int RunReport(Context& context, const Flags& flags) {
  const auto request = MakeRequest(flags);
  if (!request.ok()) return context.Refuse(request.status());
  if (const int code = context.Connect()) return code;
  v1::ReportHealthResponse response;
  const absl::Status status = CallUnary<v1::Registry>(
      *context.connection, &v1::Registry::Stub::ReportHealth, *request, &response);
  if (!status.ok()) return context.FailKey(status, flags.node);
  if (context.json) {
    context.PrintJson(response);
    return kDone;
  }
  context.out << KeyText(request->key()) << " check " << base::EscapeForTerminal(flags.check)
              << (response.changed() ? " is now " : " is still ") << HealthName(request->status())
              << std::endl;
  return kDone;
}

}  // namespace

void AddReportCommand(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("report", "Report what a check of an instance found");
  command->footer(
      "Here --output is the check's; -o json prints JSON as ever.\n"
      "Example: muster report web web-1 main critical --output \"disk full\"");
  auto flags = std::make_shared<Flags>();
  command->add_option("service", flags->service, "Name of the service")->required();
  command->add_option("id", flags->id, "Id of the instance, as discover shows it")->required();
  command->add_option("check", flags->check, "Id of the check")->required();
  command->add_option("status", flags->status, "passing, warning or critical")->required();
  command->add_option("--output", flags->output, "What the check said, for people");
  command->add_option("--node", flags->node, "Its node, when it has one");
  command->add_option("--namespace", flags->name_space, "Unset = default");
  command->add_option("--incarnation", flags->incarnation, "Only of this life; unset = whichever");
  command->callback([&context, flags] {
    context.run = [&context, flags] { return RunReport(context, *flags); };
  });
}

}  // namespace muster::cli

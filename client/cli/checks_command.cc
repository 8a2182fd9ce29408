// check: adds a check to an instance that is registered, or takes one away.
#include <CLI/CLI.hpp>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "client/cli/context.h"
#include "client/cli/parse.h"
#include "client/cli/parse_check.h"
#include "client/cli/render.h"
#include "muster/v1/registry.grpc.pb.h"

namespace muster::cli {
namespace {

struct Flags {
  std::string action, service, id, what, node, name_space, incarnation;
};

absl::Status SetKey(const Flags& flags, v1::InstanceKey* key, uint64_t* incarnation) {
  key->set_namespace_(flags.name_space.empty() ? "default" : flags.name_space);
  key->set_service(flags.service);
  key->set_node(flags.node);
  key->set_id(flags.id);
  if (flags.incarnation.empty()) return absl::OkStatus();
  const auto parsed = ParseIncarnation(flags.incarnation);
  if (!parsed.ok()) return parsed.status();
  *incarnation = *parsed;
  return absl::OkStatus();
}

template <typename Request, typename Response>
int Call(Context& context, const Flags& flags,
         grpc::Status (v1::Registry::Stub::*method)(grpc::ClientContext*, const Request&,
                                                    Response*),
         Request request, const std::string& done) {
  uint64_t incarnation = 0;
  const absl::Status key = SetKey(flags, request.mutable_key(), &incarnation);
  if (!key.ok()) return context.Refuse(key);
  request.set_incarnation(incarnation);
  if (const int code = context.Connect()) return code;
  Response response;
  const absl::Status status =
      CallUnary<v1::Registry>(*context.connection, method, request, &response);
  if (!status.ok()) return context.FailKey(status, flags.node);
  if (context.json) {
    context.PrintJson(response);
  } else {
    context.out << KeyText(request.key()) << " " << base::EscapeForTerminal(done) << std::endl;
  }
  return kDone;
}

int RunAdd(Context& context, const Flags& flags) {
  const auto check = ParseCheck(flags.what);
  if (!check.ok()) return context.Refuse(check.status());
  // One that the server made up could be that of another check, which this one would replace.
  if (check->id().empty()) {
    return context.Usage(absl::StrCat("check ", base::Quoted(flags.what),
                                      ": it has no id; give one as in http:/health,id=health"));
  }
  v1::AddCheckRequest request;
  *request.mutable_check() = *check;
  return Call(context, flags, &v1::Registry::Stub::AddCheck, request,
              absl::StrCat("has the check ", check->id()));
}

int RunRemove(Context& context, const Flags& flags) {
  v1::RemoveCheckRequest request;
  request.set_check_id(flags.what);
  return Call(context, flags, &v1::Registry::Stub::RemoveCheck, request,
              absl::StrCat("no longer has the check ", flags.what));
}

int RunCheckAction(Context& context, const Flags& flags) {
  if (flags.action == "add") return RunAdd(context, flags);
  if (flags.action == "remove") return RunRemove(context, flags);
  const std::string nearest = base::NearestName(flags.action, {"add", "remove"});
  return context.Usage(absl::StrCat("check: no action ", base::Quoted(flags.action),
                                    nearest.empty()
                                        ? "; allowed: add, remove"
                                        : absl::StrCat("; did you mean '", nearest, "'?")));
}

}  // namespace

void AddCheckCommand(CLI::App& app, Context& context) {
  auto* command =
      app.add_subcommand("check", "Add a check to an instance, or take one away: add, remove");
  command->footer(absl::StrCat(
      "add SERVICE ID SPEC replaces the check that has the same id; a registration that comes "
      "later\n"
      "brings its own list of checks. remove SERVICE ID CHECK takes one away, with its history.\n",
      kCheckHelp,
      "\nExample: muster check add web web-1 http:/health,id=health,interval=5s\n"
      "Example: muster check remove web web-1 health"));
  auto flags = std::make_shared<Flags>();
  command->add_option("action", flags->action, "add or remove")->required();
  command->add_option("service", flags->service, "Name of the service")->required();
  command->add_option("id", flags->id, "Id of the instance, as discover shows it")->required();
  command->add_option("check", flags->what, "add: SPEC of the check; remove: its id")->required();
  command->add_option("--node", flags->node, "Its node, when it has one");
  command->add_option("--namespace", flags->name_space, "Unset = default");
  command->add_option("--incarnation", flags->incarnation, "Only of this life; unset = whichever");
  command->callback([&context, flags] {
    context.run = [&context, flags] { return RunCheckAction(context, *flags); };
  });
}

}  // namespace muster::cli

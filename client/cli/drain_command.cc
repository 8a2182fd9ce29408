// drain: take an instance out of the answers, and wait until those who watch know.
#include <CLI/CLI.hpp>
#include <ostream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "base/text.h"
#include "client/cli/context.h"
#include "client/cli/parse.h"
#include "client/cli/render.h"
#include "muster/v1/registry.grpc.pb.h"

namespace muster::cli {
namespace {

struct Flags {
  std::string service, id, node, name_space, incarnation;
  std::string deadline = "10s", min_acked = "1.0";
};

absl::StatusOr<double> ParseShare(const std::string& text) {
  double share = 0;
  if (absl::SimpleAtod(text, &share) && share >= 0 && share <= 1) return share;
  return absl::InvalidArgumentError(
      absl::StrCat("--min-acked: ", base::Av(base::Quoted(text)), "; allowed: 0 to 1"));
}

absl::StatusOr<v1::DrainRequest> MakeRequest(const Flags& flags) {
  v1::DrainRequest request;
  v1::InstanceKey* key = request.mutable_key();
  key->set_namespace_(flags.name_space.empty() ? "default" : flags.name_space);
  key->set_service(flags.service);
  key->set_node(flags.node);
  key->set_id(flags.id);
  const auto deadline = base::ParseDuration(flags.deadline);
  if (!deadline.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--deadline: ", deadline.status().message()));
  }
  SetDuration(*deadline, request.mutable_deadline());
  const auto share = ParseShare(flags.min_acked);
  if (!share.ok()) return share.status();
  request.set_min_acked(*share);
  if (flags.incarnation.empty()) return request;
  const auto incarnation = ParseIncarnation(flags.incarnation);
  if (!incarnation.ok()) return incarnation.status();
  request.set_incarnation(*incarnation);
  return request;
}

// "; 2 of 3 watchers have confirmed it; 1 can't: grpc".
std::string Confirmed(const v1::DrainResponse& response) {
  std::string text =
      absl::StrCat("; ", response.acked(), " of ", response.eligible(),
                   response.eligible() == 1 ? " watcher has" : " watchers have", " confirmed it");
  for (const auto& others : response.not_acking()) {
    absl::StrAppend(&text, "; ", others.count(), " can't: ", others.face());
  }
  return base::EscapeForTerminal(text);
}

int RunDrain(Context& context, const Flags& flags) {
  const auto request = MakeRequest(flags);
  if (!request.ok()) return context.Refuse(request.status());
  if (const int code = context.Connect()) return code;
  context.connection->LetCallsWait(ToDuration(request->deadline()));
  v1::DrainResponse response;
  const absl::Status status =
      CallUnary<v1::Registry>(*context.connection, &v1::Registry::Stub::Drain, *request, &response);
  if (!status.ok()) return context.FailKey(status, flags.node);
  if (context.json) {
    context.PrintJson(response);
  } else {
    context.out << KeyText(request->key()) << " is draining" << Confirmed(response) << std::endl;
  }
  const double needed = request->min_acked() * static_cast<double>(response.eligible());
  return static_cast<double>(response.acked()) + 1e-9 >= needed ? kDone : kFailed;
}

}  // namespace

void AddDrainCommand(CLI::App& app, Context& context) {
  auto* command =
      app.add_subcommand("drain", "Take an instance out of the answers until it starts anew");
  command->footer(
      "Waits until those who watch its service have confirmed that they don't use it any more; as\n"
      "long as somebody watches who can't confirm, for 10s. The instance and its lease stay.\n"
      "Exit code 1 when --deadline came before --min-acked; it is out of the answers all the "
      "same.\n"
      "Example: muster drain web web-1 --deadline 30s");
  auto flags = std::make_shared<Flags>();
  command->add_option("service", flags->service, "Name of the service")->required();
  command->add_option("id", flags->id, "Id of the instance, as discover shows it")->required();
  command->add_option("--node", flags->node, "Its node, when it has one");
  command->add_option("--namespace", flags->name_space, "Unset = default");
  command->add_option("--incarnation", flags->incarnation, "Only of this life; unset = whichever");
  command->add_option("--deadline", flags->deadline, "Waits at most so long, 0s to 10m")
      ->capture_default_str();
  command->add_option("--min-acked", flags->min_acked, "Share that has to confirm, 0 to 1")
      ->capture_default_str();
  command->callback(
      [&context, flags] { context.run = [&context, flags] { return RunDrain(context, *flags); }; });
}

}  // namespace muster::cli

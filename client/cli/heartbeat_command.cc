// heartbeat: renews leases once, by handle or by key.
#include <CLI/CLI.hpp>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "client/cli/context.h"
#include "client/cli/parse.h"
#include "client/cli/render.h"
#include "muster/v1/registry.grpc.pb.h"

namespace muster::cli {
namespace {

using Outcome = v1::HeartbeatResponse;

struct Flags {
  std::vector<std::string> words;
  std::string node, name_space, incarnation;
};

// All words are numbers, and nothing speaks of a key.
bool AreHandles(const Flags& flags) {
  if (!flags.node.empty() || !flags.name_space.empty() || !flags.incarnation.empty()) return false;
  for (const std::string& word : flags.words) {
    if (!ParseIncarnation(word).ok()) return false;
  }
  return true;
}

absl::StatusOr<v1::HeartbeatRequest> MakeRequest(const Flags& flags) {
  v1::HeartbeatRequest request;
  if (AreHandles(flags)) {
    for (const std::string& word : flags.words) {
      request.add_lease_handles(*ParseIncarnation(word));
    }
    return request;
  }
  if (flags.words.size() != 2) {
    return absl::InvalidArgumentError("heartbeat: expected lease handles, or NAME ID");
  }
  auto* lease = request.add_leases();
  lease->mutable_key()->set_namespace_(flags.name_space.empty() ? "default" : flags.name_space);
  lease->mutable_key()->set_service(flags.words[0]);
  lease->mutable_key()->set_node(flags.node);
  lease->mutable_key()->set_id(flags.words[1]);
  if (flags.incarnation.empty()) return request;
  const auto incarnation = ParseIncarnation(flags.incarnation);
  if (!incarnation.ok()) return incarnation.status();
  lease->set_incarnation(*incarnation);
  return request;
}

Cell OutcomeCell(int outcome) {
  switch (outcome) {
    case Outcome::RENEWED:
      return {"renewed", Colour::kGreen};
    case Outcome::UNKNOWN:
      return {"unknown: register again", Colour::kRed};
    case Outcome::STALE:
      return {"stale: a newer life has the key", Colour::kRed};
    case Outcome::LOADING:
      return {"the server is loading: ask again later", Colour::kYellow};
    default:
      return {"no outcome", Colour::kRed};
  }
}

std::string LeaseName(const v1::HeartbeatRequest& request, int i) {
  if (i < request.lease_handles_size()) return absl::StrCat(request.lease_handles(i));
  const auto& key = request.leases(i - request.lease_handles_size()).key();
  return absl::StrCat(key.service(), " ", key.id());
}

void PrintOutcomes(Context& context, const v1::HeartbeatRequest& request,
                   const v1::HeartbeatResponse& response) {
  if (context.json) return context.PrintJson(response);
  Table table({"LEASE", "OUTCOME", "REMAINING"});
  for (int i = 0; i < response.outcomes_size(); ++i) {
    const uint32_t left = i < response.remaining_ms_size() ? response.remaining_ms(i) : 0;
    table.Add({{LeaseName(request, i)},
               OutcomeCell(response.outcomes(i)),
               {left > 0 ? base::FormatDuration(absl::Milliseconds(left)) : ""}});
  }
  context.out << table.Text(context.colours);
}

int RunHeartbeat(Context& context, const Flags& flags) {
  const auto request = MakeRequest(flags);
  if (!request.ok()) return context.Refuse(request.status());
  if (const int code = context.Connect()) return code;
  v1::HeartbeatResponse response;
  const absl::Status status = CallUnary<v1::Registry>(
      *context.connection, &v1::Registry::Stub::Heartbeat, *request, &response);
  if (!status.ok()) return context.Fail(status);
  const int leases = request->lease_handles_size() + request->leases_size();
  if (response.outcomes_size() != leases) {
    return context.Fail(absl::InternalError(absl::StrCat(
        "the server gave ", response.outcomes_size(), " outcomes for ", Count(leases, "lease"))));
  }
  PrintOutcomes(context, *request, response);
  int missed = 0;
  for (const int outcome : response.outcomes()) missed += outcome == Outcome::RENEWED ? 0 : 1;
  if (missed == 0) return kDone;
  return context.Fail(absl::FailedPreconditionError(
      absl::StrCat(missed, " of ", Count(leases, "lease"), " not renewed")));
}

}  // namespace

void AddHeartbeatCommand(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("heartbeat", "Renew leases once");
  command->footer(
      "Exit code 1 when one isn't renewed.\n"
      "Example: muster heartbeat web web-1 --incarnation 42");
  auto flags = std::make_shared<Flags>();
  command->add_option("leases", flags->words, "Lease handles; or NAME ID")->required();
  command->add_option("--node", flags->node, "With NAME ID: its node");
  command->add_option("--namespace", flags->name_space, "With NAME ID; unset = default");
  command->add_option("--incarnation", flags->incarnation, "With NAME ID; unset = whichever life");
  command->callback([&context, flags] {
    context.run = [&context, flags] { return RunHeartbeat(context, *flags); };
  });
}

}  // namespace muster::cli

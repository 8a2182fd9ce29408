// health: how each check of each instance of a service is, and how it has been.
#include <CLI/CLI.hpp>
#include <ostream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "client/cli/check_view.h"
#include "client/cli/context.h"
#include "client/cli/pages.h"
#include "client/cli/render.h"
#include "muster/v1/discovery.grpc.pb.h"

namespace muster::cli {
namespace {

// Of an output, where no terminal says how wide it is; and of a reason, anywhere.
constexpr size_t kMostOutput = 120;
constexpr size_t kMostReason = 40;

struct Flags {
  std::string service, node, name_space;
};

// All of them, whatever their health and state.
absl::Status FindInstances(Context& context, const Flags& flags, v1::DiscoverResponse* all) {
  v1::DiscoverRequest request;
  request.set_namespace_(flags.name_space);
  request.set_service(flags.service);
  request.mutable_selector()->set_min_health(v1::Selector::ANY);
  request.mutable_selector()->set_include_draining(true);
  const auto append = [](v1::DiscoverResponse& page, v1::DiscoverResponse* to) {
    for (auto& endpoint : *page.mutable_endpoints()) to->add_endpoints()->Swap(&endpoint);
  };
  const auto enough = [](const v1::DiscoverResponse&) { return false; };
  return ReadPages<v1::Discovery>(*context.connection, &v1::Discovery::Stub::Discover, request, all,
                                  append, enough);
}

// Those that have left meanwhile are left out.
absl::Status DescribeAll(Context& context, const Flags& flags, const v1::DiscoverResponse& found,
                         std::vector<v1::DescribeInstanceResponse>* all) {
  for (const v1::Endpoint& endpoint : found.endpoints()) {
    if (!flags.node.empty() && endpoint.node() != flags.node) continue;
    v1::DescribeInstanceRequest request;
    v1::InstanceKey* key = request.mutable_key();
    key->set_namespace_(flags.name_space);
    key->set_service(flags.service);
    key->set_node(endpoint.node());
    key->set_id(endpoint.id());
    v1::DescribeInstanceResponse response;
    const absl::Status status = CallUnary<v1::Discovery>(
        *context.connection, &v1::Discovery::Stub::DescribeInstance, request, &response);
    if (absl::IsNotFound(status)) continue;
    if (!status.ok()) return status;
    all->push_back(std::move(response));
  }
  return absl::OkStatus();
}

Cell InstanceCell(const v1::Instance& instance) {
  return {instance.node().empty() ? instance.id()
                                  : absl::StrCat(instance.id(), " on ", instance.node())};
}

Cell StateCell(const v1::DescribeInstanceResponse& all) {
  const v1::State state = all.endpoint().state();
  std::string text = StateName(state);
  if (!all.maintenance().reason().empty()) {
    absl::StrAppend(&text, ": ", FirstLine(all.maintenance().reason(), kMostReason));
  }
  const bool overdue = IsOverdue(all.lease());
  if (overdue) text += ", overdue";
  return {text, state == v1::ACTIVE && !overdue ? Colour::kNone : Colour::kYellow};
}

std::string SinceText(const v1::CheckState& state, absl::Time now) {
  const auto* since = StatusSince(state);
  if (since == nullptr) return "";
  return AgeText(now - absl::FromUnixSeconds(since->seconds()));
}

void AddRows(const v1::DescribeInstanceResponse& all, absl::Time now, Table* table) {
  if (all.checks().empty()) {
    const v1::Health health = all.endpoint().health();
    table->Add({InstanceCell(all.instance()),
                StateCell(all),
                {},
                {HealthName(health), HealthColour(health)},
                {},
                {},
                {"it has no check"}});
  }
  for (const v1::CheckState& state : all.checks()) {
    table->Add({InstanceCell(all.instance()),
                StateCell(all),
                {state.check().id()},
                CheckStatusCell(state),
                HistoryCell(state),
                {SinceText(state, now)},
                {FirstLine(state.latest().output(), kMostOutput)}});
  }
}

void Print(Context& context, const std::vector<v1::DescribeInstanceResponse>& all) {
  if (context.json) {
    for (const auto& instance : all) context.PrintJson(instance);
    return;
  }
  const absl::Time now = absl::FromUnixMicros(context.clock.System().us);
  Table table({"INSTANCE", "STATE", "CHECK", "STATUS", "HISTORY", "SINCE", "OUTPUT"});
  for (const auto& instance : all) AddRows(instance, now, &table);
  context.out << table.Text(context.colours, context.out_columns);
}

int RunHealth(Context& context, const Flags& flags) {
  if (const int code = context.Connect()) return code;
  v1::DiscoverResponse found;
  absl::Status status = FindInstances(context, flags, &found);
  std::vector<v1::DescribeInstanceResponse> all;
  if (status.ok()) status = DescribeAll(context, flags, found, &all);
  if (!status.ok()) return context.Fail(status);
  if (!all.empty()) {
    Print(context, all);
    return kDone;
  }
  if (!found.endpoints().empty() && !flags.node.empty()) {
    return context.Fail(absl::NotFoundError(
        absl::StrCat(flags.service, ": no instance is on node ", base::Quoted(flags.node))));
  }
  // Those that were found have left meanwhile.
  const v1::EmptyReason reason =
      found.endpoints().empty() ? found.empty_reason() : v1::NO_INSTANCES;
  return context.Fail(
      absl::NotFoundError(absl::StrCat(flags.service, ": ", EmptyReasonText(reason))));
}

}  // namespace

void AddHealthCommand(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("health", "How each check of a service is and has been");
  command->footer(
      "HISTORY has a cell for each change of status, at most 10, the oldest left: P passing,\n"
      "W warning, C critical. SINCE is how long ago the last one was. An overdue instance didn't\n"
      "renew its lease: it is held, or about to be removed. -o json prints a line for each\n"
      "instance, as describe does. Exit code 1 when there is no instance.\n"
      "Example: muster health web --node n1");
  auto flags = std::make_shared<Flags>();
  command->add_option("name", flags->service, "Name of the service")->required();
  command->add_option("--node", flags->node, "Only its instances on this node");
  command->add_option("--namespace", flags->name_space, "Unset = default");
  command->callback([&context, flags] {
    context.run = [&context, flags] { return RunHealth(context, *flags); };
  });
}

}  // namespace muster::cli

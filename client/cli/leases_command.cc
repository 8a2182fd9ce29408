// leases: who keeps a lease, soonest to end first.
#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "client/cli/context.h"
#include "client/cli/leases.h"
#include "client/cli/pages.h"
#include "muster/v1/admin.grpc.pb.h"

namespace muster::cli {
namespace {

struct Flags {
  std::string name_space, service, node;
  bool permanent = false;
};

int RunLeases(Context& context, const Flags& flags) {
  if (const int code = context.Connect()) return code;
  v1::ListLeasesRequest request;
  request.set_namespace_(flags.name_space == "*" ? "" : flags.name_space);
  request.set_service(flags.service);
  request.set_node(flags.node);
  request.set_include_permanent(flags.permanent);
  v1::ListLeasesResponse all;
  const absl::Status status = ReadLeases(*context.connection, request, &all);
  if (!status.ok()) return context.Fail(status);
  if (context.json) {
    context.PrintJson(all);
  } else if (all.leases().empty()) {
    context.Note("no leases");
  } else {
    context.out << LeaseTable(all).Text(context.colours);
  }
  return kDone;
}

}  // namespace

absl::Status ReadLeases(Connection& connection, const v1::ListLeasesRequest& request,
                        v1::ListLeasesResponse* all) {
  const auto append = [](v1::ListLeasesResponse& page, v1::ListLeasesResponse* to) {
    for (auto& lease : *page.mutable_leases()) to->add_leases()->Swap(&lease);
  };
  return ReadPages<v1::Admin>(connection, &v1::Admin::Stub::ListLeases, request, all, append,
                              [](const auto&) { return false; });
}

Table LeaseTable(const v1::ListLeasesResponse& leases) {
  Table table({"NAMESPACE", "SERVICE", "NODE", "ID", "INCARNATION", "TTL", "REMAINING"});
  for (const auto& lease : leases.leases()) {
    const bool permanent = lease.permanent();
    table.Add({{lease.key().namespace_()},
               {lease.key().service()},
               {lease.key().node()},
               {lease.key().id()},
               {absl::StrCat(lease.incarnation())},
               {permanent ? "permanent" : SpanText(lease.ttl())},
               {permanent ? "" : SpanText(lease.remaining())}});
  }
  return table;
}

void AddLeasesCommand(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("leases", "Leases, soonest to end first");
  command->footer("Example: muster leases --service web --permanent");
  auto flags = std::make_shared<Flags>();
  command->add_option("--namespace", flags->name_space, "Unset = all");
  command->add_option("--service", flags->service, "Only of this service");
  command->add_option("--node", flags->node, "Only of this node");
  command->add_flag("--permanent", flags->permanent, "Permanent instances as well");
  command->callback([&context, flags] {
    context.run = [&context, flags] { return RunLeases(context, *flags); };
  });
}

}  // namespace muster::cli

// describe: everything about one instance.
#include <CLI/CLI.hpp>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/check_view.h"
#include "client/cli/context.h"
#include "client/cli/render.h"
#include "muster/v1/discovery.grpc.pb.h"

namespace muster::cli {
namespace {

struct Flags {
  std::string service, id, node, name_space;
};

// "a=1,b=2", in order.
template <typename Map>
std::string Pairs(const Map& map) {
  std::map<std::string, std::string> sorted;
  for (const auto& [key, value] : map) sorted[key] = absl::StrCat(value);
  return absl::StrJoin(sorted, ",", absl::PairFormatter("="));
}

std::string LocalityText(const v1::Locality& locality) {
  const auto parts = {locality.region(), locality.zone(), locality.sub_zone()};
  const std::string text = absl::StrJoin(parts, "/");
  return text == "//" ? "" : text;
}

std::string LeaseText(const v1::LeaseState& lease) {
  if (lease.permanent()) return "permanent";
  if (IsOverdue(lease)) return absl::StrCat("overdue, of ", SpanText(lease.ttl()));
  return absl::StrCat(SpanText(lease.remaining()), " left of ", SpanText(lease.ttl()));
}

std::string MaintenanceText(const v1::Maintenance& maintenance) {
  const char* whose = !maintenance.instance() ? "of its node"
                      : maintenance.node()    ? "its own, and of its node"
                                              : "its own";
  return absl::StrCat(whose, ", since ", TimeText(maintenance.since()),
                      maintenance.reason().empty() ? "" : ": ", maintenance.reason());
}

// Of an output, where no terminal says how wide it is.
constexpr size_t kMostOutput = 200;

void AddInstance(const v1::Instance& instance, Sheet* sheet) {
  sheet->Add("service", absl::StrCat(instance.namespace_(), "/", instance.service()));
  sheet->Add("id", instance.id());
  sheet->Add("node", instance.node());
  sheet->Add("address", AddressText(instance.address(), instance.port()));
  sheet->Add("more addresses", absl::StrJoin(instance.additional_addresses(), ","));
  sheet->Add("named ports", Pairs(instance.named_ports()));
  sheet->Add("version", instance.version());
  sheet->Add("protocol", instance.protocol());
  sheet->Add("locality", LocalityText(instance.locality()));
  sheet->Add("tags", absl::StrJoin(instance.tags(), ","));
  sheet->Add("metadata", Pairs(instance.metadata()));
  if (instance.has_weight()) {
    sheet->Add("weight", absl::StrCat(instance.weight().passing(), " passing, ",
                                      instance.weight().warning(), " warning"));
  }
}

void AddLife(const v1::DescribeInstanceResponse& all, Sheet* sheet) {
  sheet->Add("health", HealthName(all.endpoint().health()), HealthColour(all.endpoint().health()));
  sheet->Add("state", StateName(all.endpoint().state()));
  if (all.has_maintenance()) {
    sheet->Add("maintenance", MaintenanceText(all.maintenance()), Colour::kYellow);
  }
  sheet->Add("lease", LeaseText(all.lease()),
             IsOverdue(all.lease()) ? Colour::kYellow : Colour::kNone);
  sheet->Add("incarnation",
             absl::StrCat(all.incarnation(), all.fenced() ? " (fenced)" : " (not fenced)"));
  sheet->Add("replaced", absl::StrJoin(all.superseded(), ","));
  sheet->Add("created", absl::StrCat("seq ", all.create_seq()));
  sheet->Add("defined", absl::StrCat("seq ", all.definition_seq()));
  sheet->Add("last visible", absl::StrCat("seq ", all.visible_seq()));
  sheet->Add("made by", all.origin());
}

std::string CheckName(const v1::Check& check) {
  return check.name().empty() ? check.id() : absl::StrCat(check.id(), " (", check.name(), ")");
}

void PrintChecks(Context& context, const v1::DescribeInstanceResponse& all) {
  if (all.checks().empty()) return;
  Table table({"CHECK", "KIND", "STATUS", "HISTORY", "SINCE", "LAST", "OUTPUT"});
  for (const v1::CheckState& state : all.checks()) {
    const auto* since = StatusSince(state);
    table.Add({{CheckName(state.check())},
               {CheckKindText(state.check(), all.instance())},
               CheckStatusCell(state),
               HistoryCell(state),
               {since != nullptr ? TimeText(*since) : ""},
               {state.latest().has_at() ? TimeText(state.latest().at()) : ""},
               {FirstLine(state.latest().output(), kMostOutput)}});
  }
  context.out << "\n" << table.Text(context.colours, context.out_columns);
}

// Newest first.
void PrintTransitions(Context& context, const v1::DescribeInstanceResponse& all) {
  Table table({"CHECK", "TIME", "BECAME", "OUTPUT"});
  for (const v1::CheckState& state : all.checks()) {
    for (const v1::CheckResult& change : state.transitions()) {
      table.Add({{state.check().id()},
                 {change.has_at() ? TimeText(change.at()) : ""},
                 {HealthName(change.status()), HealthColour(change.status())},
                 {FirstLine(change.output(), kMostOutput)}});
    }
  }
  if (!table.empty()) context.out << "\n" << table.Text(context.colours, context.out_columns);
}

int RunDescribe(Context& context, const Flags& flags) {
  if (const int code = context.Connect()) return code;
  v1::DescribeInstanceRequest request;
  auto* key = request.mutable_key();
  key->set_namespace_(flags.name_space);
  key->set_service(flags.service);
  key->set_node(flags.node);
  key->set_id(flags.id);
  v1::DescribeInstanceResponse response;
  const absl::Status status = CallUnary<v1::Discovery>(
      *context.connection, &v1::Discovery::Stub::DescribeInstance, request, &response);
  if (!status.ok()) return context.FailKey(status, flags.node);
  if (context.json) {
    context.PrintJson(response);
    return kDone;
  }
  Sheet sheet;
  AddInstance(response.instance(), &sheet);
  AddLife(response, &sheet);
  context.out << sheet.Text(context.colours);
  PrintChecks(context, response);
  PrintTransitions(context, response);
  return kDone;
}

}  // namespace

void AddDescribeCommand(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("describe", "Everything about one instance");
  command->footer("Example: muster describe web web-1 --node n1");
  auto flags = std::make_shared<Flags>();
  command->add_option("name", flags->service, "Name of the service")->required();
  command->add_option("id", flags->id, "Its id, as discover shows it")->required();
  command->add_option("--node", flags->node, "Its node, when it has one");
  command->add_option("--namespace", flags->name_space, "Unset = default");
  command->callback([&context, flags] {
    context.run = [&context, flags] { return RunDescribe(context, *flags); };
  });
}

}  // namespace muster::cli

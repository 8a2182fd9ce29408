// discover: the endpoints of one service now, all pages as one answer.
#include <CLI/CLI.hpp>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/context.h"
#include "client/cli/pages.h"
#include "client/cli/parse.h"
#include "client/cli/render.h"
#include "client/cli/selector_flags.h"
#include "muster/v1/discovery.grpc.pb.h"

namespace muster::cli {
namespace {

struct Flags {
  SelectorFlags selector;
  std::string service, zone, region, min_revision;
  uint32_t limit = 0;
  int panic = 0;  // 0 = as the service's settings say; else above 0 = yes
};

absl::StatusOr<v1::DiscoverRequest> MakeRequest(const Flags& flags) {
  v1::DiscoverRequest request;
  request.set_namespace_(flags.selector.name_space);
  request.set_service(flags.service);
  auto selector = MakeSelector(flags.selector);
  if (!selector.ok()) return selector.status();
  *request.mutable_selector() = *std::move(selector);
  if (!flags.zone.empty()) request.mutable_near()->set_zone(flags.zone);
  if (!flags.region.empty()) request.mutable_near()->set_region(flags.region);
  request.set_limit(flags.limit);
  if (flags.panic != 0) request.set_panic(flags.panic > 0);
  if (!flags.min_revision.empty()) {
    const auto revision = ParseRevision(flags.min_revision);
    if (!revision.ok()) return revision.status();
    *request.mutable_min_revision() = *revision;
  }
  return request;
}

// Each page holds its own part of a zone.
void AppendHeld(const v1::Held& held, v1::DiscoverResponse* to) {
  for (auto& zone : *to->mutable_held()) {
    if (zone.zone() == held.zone()) return zone.mutable_keys()->MergeFrom(held.keys());
  }
  *to->add_held() = held;
}

absl::Status ReadAll(Context& context, const v1::DiscoverRequest& request,
                     v1::DiscoverResponse* all) {
  const auto append = [](v1::DiscoverResponse& page, v1::DiscoverResponse* to) {
    for (auto& endpoint : *page.mutable_endpoints()) to->add_endpoints()->Swap(&endpoint);
    for (auto& held : *page.mutable_held()) AppendHeld(held, to);
  };
  const auto enough = [&](const v1::DiscoverResponse& got) {
    return request.limit() > 0 && static_cast<uint32_t>(got.endpoints_size()) >= request.limit();
  };
  return ReadPages<v1::Discovery>(*context.connection, &v1::Discovery::Stub::Discover, request, all,
                                  append, enough);
}

void Print(Context& context, const v1::DiscoverResponse& answer) {
  if (context.json) return context.PrintJson(answer);
  if (answer.endpoints().empty()) return;
  std::set<std::pair<std::string, std::string>> held;
  for (const auto& zone : answer.held()) {
    for (const auto& key : zone.keys()) held.emplace(key.node(), key.id());
  }
  Table table(EndpointHeader());
  for (const auto& endpoint : answer.endpoints()) {
    table.Add(EndpointRow(endpoint, held.contains({endpoint.node(), endpoint.id()})));
  }
  context.out << table.Text(context.colours);
}

void PrintNotes(Context& context, const v1::DiscoverResponse& answer) {
  if (answer.panic()) {
    context.Note("none is as healthy as was asked for: these are all, whatever their health");
  }
  for (const auto& held : answer.held()) context.Note(HeldText(held, held.keys_size()));
  if (answer.has_frozen_since()) {
    context.Note(absl::StrCat("the server takes no changes since ", TimeText(answer.frozen_since()),
                              "; see muster status"));
  }
}

int RunDiscover(Context& context, const Flags& flags) {
  const auto request = MakeRequest(flags);
  if (!request.ok()) return context.Refuse(request.status());
  if (const int code = context.Connect()) return code;
  v1::DiscoverResponse answer;
  const absl::Status status = ReadAll(context, *request, &answer);
  if (!status.ok()) return context.Fail(status);
  Print(context, answer);
  PrintNotes(context, answer);
  if (!answer.endpoints().empty()) return kDone;
  return context.Fail(absl::NotFoundError(
      absl::StrCat(flags.service, ": ", EmptyReasonText(answer.empty_reason()))));
}

}  // namespace

void AddDiscoverCommand(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("discover", "The endpoints of a service");
  command->footer(
      "Exit code 1 when there is none.\n"
      "Example: muster discover web --tag blue --min-health warning");
  auto flags = std::make_shared<Flags>();
  command->add_option("name", flags->service, "Name of the service")->required();
  AddSelectorFlags(*command, flags->selector);
  command->add_option("--zone", flags->zone, "Those of this zone first");
  command->add_option("--region", flags->region, "Then those of this region");
  command->add_option("--limit", flags->limit, "At most so many; 0 = all");
  command->add_flag("--panic,!--no-panic", flags->panic,
                    "All of any health when none is healthy; unset = as settings say");
  command->add_option("--min-revision", flags->min_revision,
                      "EPOCH:SEQ; waits until the server has it, --timeout at most");
  command->callback([&context, flags] {
    context.run = [&context, flags] { return RunDiscover(context, *flags); };
  });
}

}  // namespace muster::cli

// services: the names of services with counts, once or followed.
#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "client/cli/context.h"
#include "client/cli/pages.h"
#include "client/cli/render.h"
#include "client/cli/stream_keeper.h"
#include "muster/v1/discovery.grpc.pb.h"

namespace muster::cli {
namespace {

struct Flags {
  std::string name_space, prefix;
  bool watch = false;
};

Cell Number(uint32_t number, Colour colour) {
  return {absl::StrCat(number), number > 0 ? colour : Colour::kNone};
}

void PrintTable(Context& context, const v1::ListServicesResponse& all) {
  if (all.services().empty()) return context.Note("no services");
  std::vector<std::string> header = {"NAMESPACE", "SERVICE",  "PASSING",
                                     "WARNING",   "CRITICAL", "INACTIVE"};
  // Most have none.
  const bool settings = std::any_of(all.services().begin(), all.services().end(),
                                    [](const auto& service) { return service.has_settings(); });
  if (settings) header.emplace_back("SETTINGS");
  Table table(std::move(header));
  for (const auto& service : all.services()) {
    std::vector<Cell> row = {{service.namespace_()},
                             {service.service()},
                             Number(service.passing(), Colour::kGreen),
                             Number(service.warning(), Colour::kYellow),
                             Number(service.critical(), Colour::kRed),
                             Number(service.inactive(), Colour::kDim)};
    if (settings) row.push_back({SettingsText(service.settings())});
    table.Add(std::move(row));
  }
  context.out << table.Text(context.colours);
}

int RunList(Context& context, const Flags& flags) {
  if (const int code = context.Connect()) return code;
  v1::ListServicesRequest request;
  request.set_namespace_(flags.name_space);
  request.set_prefix(flags.prefix);
  const auto append = [](v1::ListServicesResponse& page, v1::ListServicesResponse* to) {
    for (auto& service : *page.mutable_services()) to->add_services()->Swap(&service);
  };
  v1::ListServicesResponse all;
  const absl::Status status =
      ReadPages<v1::Discovery>(*context.connection, &v1::Discovery::Stub::ListServices, request,
                               &all, append, [](const auto&) { return false; });
  if (!status.ok()) return context.Fail(status);
  if (context.json) {
    context.PrintJson(all);
  } else {
    PrintTable(context, all);
  }
  return kDone;
}

// The names that the server has, kept over losses so that only differences are printed.
class Names {
 public:
  explicit Names(Context& context) : context_(context) {}

  void StreamBegan() { parts_.clear(); }

  void Take(const v1::WatchServicesResponse& event) {
    if (context_.json) return context_.PrintJson(event);
    if (event.has_snapshot()) return TakeSnapshot(event.snapshot());
    for (const auto& name : event.change().removed()) {
      if (names_.erase(Key(name)) > 0) Print('-', Key(name));
    }
    for (const auto& name : event.change().added()) {
      if (names_.insert(Key(name)).second) Print('+', Key(name));
    }
  }

 private:
  using Name = std::pair<std::string, std::string>;

  static Name Key(const v1::ServiceName& name) { return {name.namespace_(), name.service()}; }

  void TakeSnapshot(const v1::WatchServicesResponse::Names& snapshot) {
    for (const auto& name : snapshot.names()) parts_.insert(Key(name));
    if (!snapshot.complete()) return;
    for (const Name& name : names_) {
      if (!parts_.contains(name)) Print('-', name);
    }
    for (const Name& name : parts_) {
      if (!names_.contains(name)) Print('+', name);
    }
    names_ = std::exchange(parts_, {});
  }

  void Print(char sign, const Name& name) {
    const Colour colour = sign == '+' ? Colour::kGreen : Colour::kRed;
    context_.out << Paint(std::string(1, sign), colour, context_.colours) << " "
                 << base::EscapeForTerminal(absl::StrCat(name.first, "/", name.second))
                 << std::endl;
  }

  Context& context_;
  std::set<Name> names_;
  std::set<Name> parts_;
};

int RunFollow(Context& context, const Flags& flags) {
  Interrupt interrupt(context.clock);
  if (const int code = context.Connect()) return code;
  context.connection->CancelBy(&interrupt);
  v1::WatchServicesRequest request;
  request.set_namespace_(flags.name_space);
  request.set_prefix(flags.prefix);
  StreamKeeper keeper(context, interrupt, {});
  Names names(context);
  const absl::Status status = keeper.Run([&](const auto& channel, grpc::ClientContext* call) {
    const auto stub = v1::Discovery::NewStub(channel);
    const auto stream = stub->WatchServices(call, request);
    names.StreamBegan();
    v1::WatchServicesResponse event;
    while (stream->Read(&event)) {
      keeper.Alive();
      names.Take(event);
      if (context.out.good()) continue;
      keeper.Done();
      call->TryCancel();
      break;
    }
    return stream->Finish();
  });
  context.connection->CancelBy(nullptr);
  return status.ok() ? kDone : context.Fail(status);
}

}  // namespace

void AddServicesCommand(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("services", "The names of services, with counts by health");
  command->footer("Example: muster services --namespace '*' --prefix web");
  auto flags = std::make_shared<Flags>();
  command->add_option("--namespace", flags->name_space, "Unset = default; * = all");
  command->add_option("--prefix", flags->prefix, "Names that begin so, without case");
  command->add_flag("--watch", flags->watch, "Follow names as they come (+) and go (-)");
  command->callback([&context, flags] {
    context.run = [&context, flags] {
      return flags->watch ? RunFollow(context, *flags) : RunList(context, *flags);
    };
  });
}

}  // namespace muster::cli

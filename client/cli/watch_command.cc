// watch: what changes in the endpoints of services, line by line.
#include <CLI/CLI.hpp>
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "client/cli/context.h"
#include "client/cli/follower.h"
#include "client/cli/render.h"
#include "client/cli/selector_flags.h"

namespace muster::cli {
namespace {

struct Flags {
  SelectorFlags selector;
  std::vector<std::string> services;
  uint64_t count = 0;
};

class Printer : public Follower::Listener {
 public:
  Printer(Context& context, const Flags& flags) : context_(context), flags_(flags) {}

  bool OnEvent(size_t service, const v1::WatchResponse& event,
               const client::EndpointSet::Applied& applied) override {
    if (!applied.problem.empty()) {
      context_.Note(absl::StrCat(Name(service), ": ", applied.problem, "; asking for all again"));
    }
    return context_.json ? PrintEvent(event) : PrintLines(service, event, applied);
  }

  bool OnEnded(size_t service, const absl::Status& status, size_t left) override {
    code_ = left > 0 ? code_ : kFailed;
    context_.Note(absl::StrCat(Name(service), ": ", status.message()));
    return true;
  }

  int code() const { return code_; }

 private:
  const std::string& Name(size_t service) const { return flags_.services[service]; }

  // False: --count is reached, or nobody reads any more.
  bool Counted() { return context_.out.good() && (flags_.count == 0 || ++lines_ < flags_.count); }

  bool PrintEvent(const v1::WatchResponse& event) {
    context_.PrintJson(event);
    return Counted();
  }

  bool PrintLines(size_t service, const v1::WatchResponse& event,
                  const client::EndpointSet::Applied& applied) {
    for (const auto& line : applied.lines) {
      if (!Print(WatchLine(line.sign, Name(service), *line.endpoint, context_.colours)))
        return false;
    }
    // Parts of one zone are one line.
    if (event.has_held() && !event.held().more() && !PrintHeld(service, event.held())) return false;
    if (applied.empty_reason == v1::EMPTY_REASON_UNSPECIFIED) return true;
    return Print(Line(service, EmptyReasonText(applied.empty_reason)));
  }

  bool PrintHeld(size_t service, const v1::Held& held) {
    const auto number =
        held.keys().empty() ? 0 : std::max<uint64_t>(held.count(), held.keys_size());
    const std::string ids = HeldIds(held);
    return Print(Line(service, absl::StrCat(HeldText(held, number), ids.empty() ? "" : ": ", ids)));
  }

  std::string Line(size_t service, const std::string& text) const {
    return base::EscapeForTerminal(absl::StrCat(Name(service), ": ", text)) + "\n";
  }

  bool Print(const std::string& line) {
    context_.out << line << std::flush;
    return Counted();
  }

  Context& context_;
  const Flags& flags_;
  uint64_t lines_ = 0;
  int code_ = kDone;
};

absl::StatusOr<std::vector<v1::Subscribe>> MakeSubscriptions(const Flags& flags) {
  const auto selector = MakeSelector(flags.selector);
  if (!selector.ok()) return selector.status();
  std::vector<v1::Subscribe> subscriptions;
  for (const std::string& service : flags.services) {
    v1::Subscribe& subscribe = subscriptions.emplace_back();
    subscribe.set_namespace_(flags.selector.name_space);
    subscribe.set_service(service);
    *subscribe.mutable_selector() = *selector;
  }
  return subscriptions;
}

int RunWatch(Context& context, const Flags& flags) {
  const auto subscriptions = MakeSubscriptions(flags);
  if (!subscriptions.ok()) return context.Refuse(subscriptions.status());
  Interrupt interrupt(context.clock);
  if (const int code = context.Connect()) return code;
  context.connection->CancelBy(&interrupt);
  StreamKeeper keeper(context, interrupt, {});
  Printer printer(context, flags);
  Follower follower(keeper, *subscriptions, printer);
  const absl::Status status = follower.Run();
  context.connection->CancelBy(nullptr);
  return status.ok() ? printer.code() : context.Fail(status);
}

}  // namespace

void AddWatchCommand(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("watch", "What changes in services, as it happens");
  command->footer(
      "Lines begin with + new, ~ changed, - gone; others say why a set is empty, and which "
      "overdue\n"
      "endpoints are held. Ends with SIGINT; losses are resumed.\n"
      "With -o json one event per line; subId is the position of the name.\n"
      "Example: muster watch web api --tag blue");
  auto flags = std::make_shared<Flags>();
  command->add_option("names", flags->services, "Names of services")->required();
  AddSelectorFlags(*command, flags->selector);
  command->add_option("--count", flags->count, "End after so many lines; 0 = never")
      ->check(CLI::NonNegativeNumber);
  command->callback(
      [&context, flags] { context.run = [&context, flags] { return RunWatch(context, *flags); }; });
}

}  // namespace muster::cli

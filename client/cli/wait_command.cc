// wait: until services have healthy endpoints. For the order of starting.
#include <CLI/CLI.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/duration_text.h"
#include "client/cli/context.h"
#include "client/cli/follower.h"
#include "client/cli/render.h"

namespace muster::cli {
namespace {

struct Flags {
  std::vector<std::string> services;
  std::string name_space;
  std::string within = "60s";
  uint32_t least = 1;
};

class Waiter : public Follower::Listener {
 public:
  explicit Waiter(const Flags& flags) : flags_(flags), seen_(flags.services.size()) {}

  bool OnEvent(size_t service, const v1::WatchResponse&,
               const client::EndpointSet::Applied& applied) override {
    Seen& seen = seen_[service];
    for (const auto& line : applied.lines) {
      if (line.sign == '+') ++seen.passing;
      if (line.sign == '-') --seen.passing;
    }
    if (!applied.complete || !applied.problem.empty()) return true;
    seen.known = true;
    seen.reason = applied.empty_reason;
    return !AllThere();
  }

  bool OnEnded(size_t service, const absl::Status& status, size_t) override {
    ended_ =
        absl::Status(status.code(), absl::StrCat(flags_.services[service], ": ", status.message()));
    return false;
  }

  // OK unless the server refused a subscription.
  const absl::Status& ended() const { return ended_; }

  bool AllThere() const {
    for (const Seen& seen : seen_) {
      if (!There(seen)) return false;
    }
    return true;
  }

  // Who is missing, and why.
  std::string Missing() const {
    std::vector<std::string> parts;
    for (size_t i = 0; i < seen_.size(); ++i) {
      if (!There(seen_[i])) parts.push_back(absl::StrCat(flags_.services[i], ": ", Why(seen_[i])));
    }
    return absl::StrJoin(parts, "; ");
  }

  v1::ListServicesResponse Summary() const {
    v1::ListServicesResponse summary;
    for (size_t i = 0; i < seen_.size(); ++i) {
      auto* service = summary.add_services();
      service->set_namespace_(flags_.name_space.empty() ? "default" : flags_.name_space);
      service->set_service(flags_.services[i]);
      service->set_passing(seen_[i].passing);
    }
    return summary;
  }

 private:
  struct Seen {
    bool known = false;
    uint32_t passing = 0;
    v1::EmptyReason reason = v1::EMPTY_REASON_UNSPECIFIED;
  };

  bool There(const Seen& seen) const { return seen.known && seen.passing >= flags_.least; }

  std::string Why(const Seen& seen) const {
    if (!seen.known) return "no answer";
    if (seen.passing == 0) return EmptyReasonText(seen.reason);
    return absl::StrCat(seen.passing, " of ", flags_.least, " passing");
  }

  const Flags& flags_;
  std::vector<Seen> seen_;
  absl::Status ended_;
};

std::vector<v1::Subscribe> MakeSubscriptions(const Flags& flags) {
  std::vector<v1::Subscribe> subscriptions;
  for (const std::string& service : flags.services) {
    v1::Subscribe& subscribe = subscriptions.emplace_back();
    subscribe.set_namespace_(flags.name_space);
    subscribe.set_service(service);
    subscribe.mutable_selector()->set_min_health(v1::Selector::PASSING);
  }
  return subscriptions;
}

void PrintSummary(Context& context, const Waiter& waiter) {
  const v1::ListServicesResponse summary = waiter.Summary();
  if (context.json) return context.PrintJson(summary);
  Table table({"SERVICE", "PASSING"});
  for (const auto& service : summary.services()) {
    table.Add({{service.service()}, {absl::StrCat(service.passing()), Colour::kGreen}});
  }
  context.out << table.Text(context.colours);
}

int Report(Context& context, const Flags& flags, const Waiter& waiter, const absl::Status& ran,
           const absl::Status& lost) {
  if (!waiter.ended().ok()) return context.Fail(waiter.ended());
  if (waiter.AllThere()) {
    PrintSummary(context, waiter);
    return kDone;
  }
  if (ran.ok()) return context.Fail(absl::CancelledError("interrupted; " + waiter.Missing()));
  if (!absl::IsDeadlineExceeded(ran)) return context.Fail(ran);
  std::string text = absl::StrCat("after ", flags.within, " still missing: ", waiter.Missing());
  if (!lost.ok()) absl::StrAppend(&text, " (", std::string(lost.message()), ")");
  return context.Fail(absl::DeadlineExceededError(text));
}

int RunWait(Context& context, const Flags& flags) {
  const auto within = base::ParseDuration(flags.within);
  if (!within.ok()) return context.Usage(within.status());
  if (*within <= absl::ZeroDuration()) return context.Usage("--for: expected more than 0s");
  if (flags.least == 0) return context.Usage("--min: expected a number above 0");
  Interrupt interrupt(context.clock);
  if (const int code = context.Connect()) return code;
  context.connection->CancelBy(&interrupt);
  StreamKeeper keeper(context, interrupt, {*within, true});
  Waiter waiter(flags);
  Follower follower(keeper, MakeSubscriptions(flags), waiter);
  const absl::Status ran = follower.Run();
  context.connection->CancelBy(nullptr);
  return Report(context, flags, waiter, ran, keeper.lost());
}

}  // namespace

void AddWaitCommand(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("wait", "Wait until services are healthy");
  command->footer(
      "Waits for the server as well. Exit code 1 when the time is over.\n"
      "Example: muster wait db cache --for 30s --min 2");
  auto flags = std::make_shared<Flags>();
  command->add_option("names", flags->services, "Names of services")->required();
  command->add_option("--namespace", flags->name_space, "Unset = default");
  command->add_option("--for,--timeout", flags->within, "How long in all")->capture_default_str();
  command->add_option("--min", flags->least, "Passing endpoints that each needs")
      ->capture_default_str();
  command->callback(
      [&context, flags] { context.run = [&context, flags] { return RunWait(context, *flags); }; });
}

}  // namespace muster::cli

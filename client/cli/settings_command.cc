// settings: those of one service, shown or changed.
#include <CLI/CLI.hpp>
#include <ostream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "base/text.h"
#include "client/cli/context.h"
#include "client/cli/parse.h"
#include "client/cli/render.h"
#include "muster/v1/discovery.grpc.pb.h"
#include "muster/v1/registry.grpc.pb.h"

namespace muster::cli {
namespace {

struct Flags {
  std::string service, name_space, panic, brake_share, default_ttl;
  bool clear = false;

  bool change() const {
    return clear || !panic.empty() || !brake_share.empty() || !default_ttl.empty();
  }
};

absl::Status Wrong(const std::string& flag, const std::string& text, const std::string& allowed) {
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": ", std::string(base::Quoted(text)), ": expected ", allowed));
}

// Sets those that are given.
absl::Status Apply(const Flags& flags, v1::ServiceSettings* settings) {
  if (!flags.panic.empty()) settings->set_panic(flags.panic == "true");
  if (!flags.brake_share.empty()) {
    double share = 0;
    if (!absl::SimpleAtod(flags.brake_share, &share)) {
      return Wrong("--brake-share", flags.brake_share, "a number from 0 to 1");
    }
    settings->set_brake_share(share);
  }
  if (flags.default_ttl.empty()) return absl::OkStatus();
  const auto ttl = base::ParseDuration(flags.default_ttl);
  if (!ttl.ok()) return Wrong("--default-ttl", flags.default_ttl, "a duration, such as 30s");
  SetDuration(*ttl, settings->mutable_default_ttl());
  return absl::OkStatus();
}

// Of all names that begin so, its own comes first. Whether there is one.
absl::StatusOr<bool> Find(Context& context, const Flags& flags, v1::ServiceSummary* found) {
  v1::ListServicesRequest request;
  request.set_namespace_(flags.name_space);
  request.set_prefix(flags.service);
  request.set_page_size(1);
  v1::ListServicesResponse response;
  const absl::Status status = CallUnary<v1::Discovery>(
      *context.connection, &v1::Discovery::Stub::ListServices, request, &response);
  if (!status.ok()) return status;
  if (response.services().empty()) return false;
  *found = response.services(0);
  return base::AsciiLower(found->service()) == base::AsciiLower(flags.service);
}

void Print(Context& context, const v1::ServiceSummary& service) {
  const std::string text = SettingsText(service.settings());
  context.out << base::EscapeForTerminal(
                     absl::StrCat(service.namespace_(), "/", service.service(), ": ",
                                  text.empty() ? "as the server's configuration says" : text))
              << std::endl;
}

int Show(Context& context, const Flags& flags) {
  v1::ServiceSummary service;
  const auto found = Find(context, flags, &service);
  if (!found.ok()) return context.Fail(found.status());
  if (!*found) {
    return context.Fail(absl::NotFoundError(
        absl::StrCat(flags.service, ": ", EmptyReasonText(v1::UNKNOWN_SERVICE))));
  }
  if (context.json) {
    context.PrintJson(service.settings());
  } else {
    Print(context, service);
  }
  return kDone;
}

// `asked`: what the server has taken. One that has none and no instances is unknown to it.
int ShowChanged(Context& context, const Flags& flags, const v1::ServiceSettings& asked) {
  v1::ServiceSummary service;
  const auto found = Find(context, flags, &service);
  if (!found.ok()) return context.Fail(found.status());
  if (!*found) {
    service.set_namespace_(flags.name_space.empty() ? "default" : flags.name_space);
    service.set_service(flags.service);
    *service.mutable_settings() = asked;
  }
  Print(context, service);
  return kDone;
}

int Change(Context& context, const Flags& flags) {
  v1::SetServiceSettingsRequest request;
  request.set_namespace_(flags.name_space);
  request.set_service(flags.service);
  // Those that are not named stay.
  v1::ServiceSummary before;
  if (!flags.clear) {
    const auto found = Find(context, flags, &before);
    if (!found.ok()) return context.Fail(found.status());
    if (*found) *request.mutable_settings() = before.settings();
  }
  (void)Apply(flags, request.mutable_settings());
  v1::SetServiceSettingsResponse response;
  const absl::Status status = CallUnary<v1::Registry>(
      *context.connection, &v1::Registry::Stub::SetServiceSettings, request, &response);
  if (!status.ok()) return context.Fail(status);
  if (!context.json) return ShowChanged(context, flags, request.settings());
  context.PrintJson(response);
  return kDone;
}

int RunSettings(Context& context, const Flags& flags) {
  v1::ServiceSettings tried;
  if (const absl::Status status = Apply(flags, &tried); !status.ok()) return context.Usage(status);
  if (const int code = context.Connect()) return code;
  return flags.change() ? Change(context, flags) : Show(context, flags);
}

}  // namespace

void AddSettingsCommand(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("settings", "Settings of a service, shown or changed");
  command->footer(
      "Without flags it shows them. Those that are not named stay as they are.\n"
      "Example: muster settings web --panic true --default-ttl 20s\n"
      "Example: muster settings web --clear");
  auto flags = std::make_shared<Flags>();
  command->add_option("name", flags->service, "Name of the service, which need not be known yet")
      ->required();
  command
      ->add_option("--panic", flags->panic,
                   "true or false: return all endpoints when none is healthy")
      ->check(CLI::IsMember({"true", "false"}));
  command->add_option("--brake-share", flags->brake_share,
                      "Share of silent leases above which overdue ones are held, 0 to 1; 0 = off");
  command->add_option("--default-ttl", flags->default_ttl,
                      "Of registrations that give none, like 30s");
  command->add_flag("--clear", flags->clear, "None but those that are named here");
  command->add_option("--namespace", flags->name_space, "Unset = default");
  command->callback([&context, flags] {
    context.run = [&context, flags] { return RunSettings(context, *flags); };
  });
}

}  // namespace muster::cli

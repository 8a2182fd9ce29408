// status, log-level and verify: how the server is.
#include <CLI/CLI.hpp>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/text.h"
#include "client/cli/context.h"
#include "client/cli/render.h"
#include "muster/v1/admin.grpc.pb.h"

namespace muster::cli {
namespace {

Cell PhaseCell(v1::StatusResponse::Phase phase) {
  switch (phase) {
    case v1::StatusResponse::LOADING:
      return {"loading", Colour::kYellow};
    case v1::StatusResponse::SERVING:
      return {"serving", Colour::kGreen};
    case v1::StatusResponse::DRAINING:
      return {"draining: ends soon", Colour::kYellow};
    default:
      return {"unknown", Colour::kRed};
  }
}

void AddLimits(const v1::StatusResponse& status, Sheet* sheet) {
  for (const auto& limit : status.limits()) {
    const double share = limit.max() == 0 ? 0 : 100.0 * limit.used() / limit.max();
    const Colour colour = share >= 95   ? Colour::kRed
                          : share >= 80 ? Colour::kYellow
                                        : Colour::kNone;
    sheet->Add(limit.name(),
               absl::StrCat(limit.used(), " of ", limit.max(), " (", static_cast<int>(share), "%)"),
               colour);
  }
}

Sheet StatusSheet(const v1::StatusResponse& status, const std::string& address) {
  Sheet sheet;
  const Cell phase = PhaseCell(status.phase());
  sheet.Add("server", address);
  sheet.Add("phase", phase.text, phase.colour);
  sheet.Add("version", status.version());
  sheet.Add("build", status.build());
  if (status.has_started_at()) {
    sheet.Add("started",
              absl::StrCat(TimeText(status.started_at()), ", ", SpanText(status.uptime()), " ago"));
  }
  sheet.Add("revision", RevisionText(status.revision()));
  sheet.Add("storage", status.storage_engine());
  sheet.Add("services", absl::StrCat(status.services()));
  sheet.Add("instances", absl::StrCat(status.instances()));
  sheet.Add("leases", absl::StrCat(status.leases()));
  sheet.Add("tombstones", absl::StrCat(status.tombstones()));
  sheet.Add("watches", absl::StrCat(Count(status.watch_streams(), "stream"), ", ",
                                    Count(status.subscriptions(), "subscription")));
  AddLimits(status, &sheet);
  if (status.has_frozen_since()) {
    sheet.Add("frozen", absl::StrCat(TimeText(status.frozen_since()), ": ", status.frozen_reason()),
              Colour::kRed);
  }
  if (status.has_low_space_since()) {
    sheet.Add("low space",
              absl::StrCat(TimeText(status.low_space_since()), ": ", status.low_space_reason()),
              Colour::kRed);
  }
  for (const auto& held : status.held()) {
    sheet.Add("held",
              absl::StrCat(held.namespace_(), "/", held.service(), ": ",
                           HeldText(held, held.count()), ": ", HeldIds(held)),
              Colour::kYellow);
  }
  for (const auto& line : status.warnings()) sheet.Add("warning", line, Colour::kYellow);
  return sheet;
}

int RunStatus(Context& context) {
  if (const int code = context.Connect()) return code;
  v1::StatusResponse response;
  const absl::Status status = CallUnary<v1::Admin>(*context.connection, &v1::Admin::Stub::Status,
                                                   v1::StatusRequest(), &response);
  if (!status.ok()) return context.Fail(status);
  if (context.json) {
    context.PrintJson(response);
  } else {
    context.out << StatusSheet(response, context.connection->address()).Text(context.colours);
  }
  return kDone;
}

int RunLogLevel(Context& context, const std::string& level) {
  const auto parsed = base::ParseLogLevel(level);
  if (!parsed.ok()) return context.Usage(parsed.status());
  if (const int code = context.Connect()) return code;
  v1::SetLogLevelRequest request;
  request.set_level(std::string(base::LogLevelName(*parsed)));
  v1::SetLogLevelResponse response;
  const absl::Status status =
      CallUnary<v1::Admin>(*context.connection, &v1::Admin::Stub::SetLogLevel, request, &response);
  if (!status.ok()) return context.Fail(status);
  if (context.json) {
    context.PrintJson(response);
  } else {
    context.out << "log level " << request.level() << ", was "
                << base::EscapeForTerminal(response.previous()) << std::endl;
  }
  return kDone;
}

int RunVerify(Context& context) {
  if (const int code = context.Connect()) return code;
  v1::VerifyResponse response;
  const absl::Status status = CallUnary<v1::Admin>(*context.connection, &v1::Admin::Stub::Verify,
                                                   v1::VerifyRequest(), &response);
  if (!status.ok()) return context.Fail(status);
  if (context.json) {
    context.PrintJson(response);
  } else {
    context.out << "checked " << Count(response.services_checked(), "service") << ", "
                << Count(response.instances_checked(), "instance") << ", "
                << Count(response.leases_checked(), "lease") << " at "
                << RevisionText(response.revision()) << (response.ok() ? ": ok" : "") << std::endl;
  }
  if (response.ok()) return kDone;
  for (const auto& problem : response.problems()) context.Note(problem);
  return context.Fail(absl::DataLossError(
      absl::StrCat("the check found ", Count(response.problems_size(), "problem"))));
}

}  // namespace

void AddAdminCommands(CLI::App& app, Context& context) {
  auto* status = app.add_subcommand("status", "How the server is");
  status->footer("Example: muster status -o json");
  status->callback([&context] { context.run = [&context] { return RunStatus(context); }; });

  auto* log_level = app.add_subcommand("log-level", "Change the log level of the running server");
  log_level->footer("Example: muster log-level debug");
  auto level = std::make_shared<std::string>();
  log_level->add_option("level", *level, "debug, info, warn or error")->required();
  log_level->callback([&context, level] {
    context.run = [&context, level] { return RunLogLevel(context, *level); };
  });

  auto* verify = app.add_subcommand("verify", "Check what the server answers against its store");
  verify->footer(
      "Exit code 1 when something is wrong; problems on stderr.\n"
      "Example: muster verify --timeout 5m");
  verify->callback([&context] { context.run = [&context] { return RunVerify(context); }; });
}

}  // namespace muster::cli

// run: a program of any language as an instance of a service, registered while it lives.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "base/net_address.h"
#include "client/cli/check_command.h"
#include "client/cli/child.h"
#include "client/cli/context.h"
#include "client/cli/parse.h"
#include "client/cli/parse_check.h"
#include "client/cli/render.h"
#include "client/cli/tcp_probe.h"
#include "client/lease/check_wire.h"
#include "client/lease/instance_request.h"
#include "muster/client/client.h"

namespace muster::cli {
namespace {

using client::RegistrationStatus;

// What a shell answers for a program that isn't there, or can't be run.
constexpr int kNoSuchProgram = 127;
constexpr int kCantBeRun = 126;

struct Flags {
  std::vector<std::string> program;
  std::string service, port, id, node, name_space, address, version, protocol, zone, region;
  std::string ttl = "30s", check, check_interval = "10s", drain = "5s";
  std::vector<std::string> tags, metadata, probes;
};

absl::Status SetDuration(const std::string& flag, const std::string& text, absl::Duration* to) {
  const auto duration = base::ParseDuration(text);
  if (!duration.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", duration.status().message()));
  }
  *to = *duration;
  return absl::OkStatus();
}

// A lease shorter or longer than this is none of the registry's.
constexpr absl::Duration kShortestTtl = absl::Seconds(1);
constexpr absl::Duration kLongestTtl = absl::Hours(24);

absl::Status SetTtl(const std::string& text, absl::Duration* to) {
  const absl::Status status = SetDuration("--ttl", text, to);
  if (!status.ok() || (*to >= kShortestTtl && *to <= kLongestTtl)) return status;
  return absl::InvalidArgumentError(absl::StrCat("--ttl: ", text, "; allowed: 1s to 24h"));
}

struct Plan {
  // By what a check that runs knows that it has to end.
  std::shared_ptr<std::atomic<bool>> ended = std::make_shared<std::atomic<bool>>(false);
  client::Instance instance;
  client::RegisterOptions options;
  absl::Duration check_interval;
  absl::Duration drain;
};

absl::StatusOr<Plan> MakePlan(const Context& context, const Flags& flags) {
  Plan plan;
  client::Instance& instance = plan.instance;
  instance.service = flags.service;
  instance.address.host = flags.address;
  const auto port = ParsePort(flags.port);
  if (!port.ok()) return port.status();
  instance.address.port = static_cast<uint16_t>(*port);
  instance.ns = flags.name_space;
  instance.node = flags.node;
  instance.id = flags.id;
  instance.tags = flags.tags;
  instance.version = flags.version;
  instance.protocol = flags.protocol;
  instance.zone = flags.zone;
  instance.region = flags.region;
  const auto metadata = ParsePairs("--meta", flags.metadata);
  if (!metadata.ok()) return metadata.status();
  instance.metadata.insert(metadata->begin(), metadata->end());
  absl::Status status = SetTtl(flags.ttl, &plan.options.ttl);
  if (status.ok()) status = SetDuration("--drain", flags.drain, &plan.drain);
  if (status.ok()) {
    status = SetDuration("--check-interval", flags.check_interval, &plan.check_interval);
  }
  if (!status.ok()) return status;
  if (!flags.check.empty()) {
    if (plan.check_interval < absl::Seconds(1)) {
      return absl::InvalidArgumentError("--check-interval: expected 1s or more");
    }
    // It is asked three times in each ttl.
    instance.ttl_checks.push_back(
        {.id = "check",
         .ttl = 3 * plan.check_interval,
         .probe = [command = flags.check, within = plan.check_interval, &clock = context.clock,
                   ended = plan.ended] { return RunCheck(command, within, clock, *ended); }});
  } else {
    instance.ttl_checks.push_back(
        {.id = "process", .ttl = plan.options.ttl, .probe = [] { return client::HealthReport{}; }});
  }
  for (const std::string& spec : flags.probes) {
    const auto check = ParseProbe(spec, "--check COMMAND, which is run here");
    if (!check.ok()) return check.status();
    instance.checks.push_back(client::FromWire(*check));
  }
  // Whatever else would be refused is, before the program is started.
  const auto request = client::ToRegister(instance, plan.options);
  if (!request.ok()) return request.status();
  return plan;
}

// On stderr, beside what the program writes there.
void Say(Context& context, const RegistrationStatus& status) {
  switch (status.state) {
    case RegistrationStatus::State::kHeld:
      return context.Note(absl::StrCat("registered as ", status.id));
    case RegistrationStatus::State::kLost:
    case RegistrationStatus::State::kPending:
      return context.Note(absl::StrCat(status.why.message(), "; trying again"));
    case RegistrationStatus::State::kSuperseded:
    case RegistrationStatus::State::kInvalid:
      return context.Note(absl::StrCat("not registered any more: ", status.why.message()));
    case RegistrationStatus::State::kEnded:
      return;
  }
}

bool Ends(int signal) { return signal == SIGTERM || signal == SIGINT || signal == SIGQUIT; }

// How long a program has to begin to listen before it is registered all the same, for it may do so
// elsewhere only, or answer by UDP.
constexpr absl::Duration kListensWithin = absl::Seconds(10);
constexpr absl::Duration kBetweenProbes = absl::Milliseconds(50);
// Signals wait so long, when packets to the address get lost.
constexpr absl::Duration kProbe = absl::Milliseconds(100);

// Where the program is looked for; no port: it isn't, the check says how well it is. Names aren't
// looked up: that may take long, and signals would wait.
client::Address ListensAt(const Flags& flags, const client::Instance& instance) {
  if (!flags.check.empty()) return {};
  const std::string& host = instance.address.host;
  const bool is_ip = base::KindOfIp(host) != base::IpKind::kNone;
  return {is_ip ? host : "127.0.0.1", instance.address.port};
}

// The program and its registration, until the program ends.
class Run {
 public:
  Run(Context& context, const client::Client& client, Plan plan, Child child)
      : context_(context), client_(client), plan_(std::move(plan)), child_(std::move(child)) {}

  // Before anything accepts a connection there, calls would fail. The exit code of a program that
  // ends meanwhile.
  std::optional<int> WaitUntilItListens(const client::Address& at) {
    const base::SteadyTime end = context_.clock.Steady() + kListensWithin;
    while (!ProbeTcp(at, kProbe).ok()) {
      if (context_.clock.Steady() >= end) {
        context_.Note(absl::StrCat("nothing listens at ", AddressText(at.host, at.port),
                                   " yet; it is registered all the same"));
        return std::nullopt;
      }
      const auto signal = child_.NextSignal(kBetweenProbes);
      if (signal == 0) return End();
      if (!signal) continue;
      Pass(*signal);
      // One that was told to end is called by nobody, however long that takes it.
      if (Ends(*signal)) return UntilItEnds();
    }
    return std::nullopt;
  }

  void Register() {
    plan_.options.log = false;  // it is said here
    // Before a signal is passed on, or else the program is gone already.
    plan_.options.drain = absl::ZeroDuration();
    plan_.options.on_change = [&context = context_](const RegistrationStatus& status) {
      Say(context, status);
    };
    auto registration = client_.Register(std::move(plan_.instance), std::move(plan_.options));
    if (registration.ok()) {
      registration_ = *std::move(registration);
    } else {
      context_.Fail(registration.status());
    }
  }

  int UntilItEnds() {
    for (;;) {
      const int signal = child_.NextSignal();
      if (signal == 0) return End();
      Pass(signal);
    }
  }

 private:
  void Pass(int signal) {
    // Nobody is to call it any more when it hears of its end.
    if (Ends(signal) && registration_ && plan_.drain > absl::ZeroDuration()) {
      registration_->Drain(plan_.drain).status().IgnoreError();
    }
    child_.Pass(signal);
  }
  int End() {
    *plan_.ended = true;
    return child_.code();
  }

  Context& context_;
  const client::Client& client_;
  Plan plan_;
  Child child_;
  std::unique_ptr<client::Registration> registration_;
};

int RunProgram(Context& context, const Flags& flags) {
  auto plan = MakePlan(context, flags);
  if (!plan.ok()) return context.Refuse(plan.status());
  ConnectionOptions connection;
  if (const int code = context.ReadOptions(&connection)) return code;
  const sigset_t former = Child::Block();
  std::optional<client::Client> client;
  if (const int code = context.MakeClient(std::move(connection), {.snapshot = false}, &client)) {
    return code;
  }
  auto child = Child::Start(flags.program, former);
  if (!child.ok()) {
    context.Fail(child.status());
    return absl::IsNotFound(child.status()) ? kNoSuchProgram : kCantBeRun;
  }
  const client::Address at = ListensAt(flags, plan->instance);
  Run run(context, *client, *std::move(plan), *std::move(child));
  if (at.port != 0) {
    if (const auto code = run.WaitUntilItListens(at)) return *code;
  }
  run.Register();
  return run.UntilItEnds();
}

}  // namespace

void AddRunCommand(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("run", "Run a program as an instance of a service");
  command->footer(
      "Registered while it runs; without --check once something listens at the port, or after\n"
      "10s. SIGTERM, SIGINT and SIGQUIT take it out of the answers, and are passed on when those\n"
      "who would call it know, or after --drain; SIGHUP, SIGUSR1 and SIGUSR2 at once.\n"
      "Exit code: the program's, 128 and the signal that ended it, 127 when there is no such\n"
      "program, 126 when it can't be run.\n"
      "Example: muster run --service api --port 8001 -- ./server --port 8001");
  auto flags = std::make_shared<Flags>();
  command->add_option("program", flags->program, "After --, with its arguments")->required();
  command->add_option("--service", flags->service, "Name of the service")->required();
  command->add_option("--port", flags->port, "That it listens on, 0 to 65535")->required();
  command->add_option("--address", flags->address, "Unset = where the call comes from");
  command->add_option("--id", flags->id, "Unset = made from service, address and port");
  command->add_option("--node", flags->node, "Machine that runs it");
  command->add_option("--namespace", flags->name_space, "Unset = default");
  command->add_option("--tag", flags->tags, "May be repeated")->allow_extra_args(false);
  command->add_option("--meta", flags->metadata, "key=value; may be repeated")
      ->allow_extra_args(false);
  command->add_option("--version", flags->version, "Version of the service");
  command->add_option("--protocol", flags->protocol, "Hint: http, grpc, tcp");
  command->add_option("--zone", flags->zone, "Where it runs");
  command->add_option("--region", flags->region, "Where it runs");
  command->add_option("--ttl", flags->ttl, "Lease, 1s to 24h")->capture_default_str();
  command->add_option("--check", flags->check,
                      "Shell command: exit code 0 passing, 1 warning, else critical");
  command->add_option("--check-interval", flags->check_interval, "Between its runs, and of one run")
      ->capture_default_str();
  command
      ->add_option("--probe", flags->probes,
                   "Check that the server runs, as of muster register --help; may be repeated")
      ->allow_extra_args(false);
  command
      ->add_option("--drain", flags->drain,
                   "Waits at most so long; 0s = signals are passed on at once")
      ->capture_default_str();
  command->callback([&context, flags] {
    context.run = [&context, flags] { return RunProgram(context, *flags); };
  });
}

}  // namespace muster::cli

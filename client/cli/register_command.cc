// register: once, or with the lease kept until a signal comes.
#include <CLI/CLI.hpp>
#include <istream>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/backoff.h"
#include "base/duration_text.h"
#include "base/text.h"
#include "client/cli/context.h"
#include "client/cli/instance_file.h"
#include "client/cli/interrupt.h"
#include "client/cli/parse.h"
#include "client/cli/parse_check.h"
#include "client/cli/register_batch.h"
#include "client/cli/yaml_tree.h"
#include "client/rpc_error.h"
#include "muster/v1/registry.grpc.pb.h"

namespace muster::cli {
namespace {

using HeartbeatOutcome = v1::HeartbeatResponse;

// Between tries, whatever the dice say: never in a tight loop.
constexpr absl::Duration kLeastDelay = absl::Milliseconds(50);

struct Flags {
  std::vector<std::string> words;
  std::string service, id, node, name_space, address, port, version, protocol, zone, region, weight;
  std::string ttl, life, file;
  std::vector<std::string> tags, metadata, named_ports, ttl_checks, probes;
  bool permanent = false;
  bool keepalive = false;
  // The first that was given beside --file.
  std::string beside_file;
};

// What `--file -` is called.
constexpr std::string_view kStandardInput = "standard input";

void SetText(const std::string& from, std::string* to) {
  if (!from.empty()) *to = from;
}

absl::Status SetNumbers(const Flags& flags, v1::Instance* instance) {
  if (!flags.port.empty()) {
    const auto port = ParsePort(flags.port);
    if (!port.ok()) return port.status();
    instance->set_port(*port);
  }
  if (!flags.weight.empty()) {
    const auto weight = ParseWeight(flags.weight);
    if (!weight.ok()) return weight.status();
    *instance->mutable_weight() = *weight;
  }
  for (const std::string& text : flags.named_ports) {
    const auto named = ParseNamedPort(text);
    if (!named.ok()) return named.status();
    (*instance->mutable_named_ports())[named->first] = named->second;
  }
  return absl::OkStatus();
}

absl::Status AddChecks(const Flags& flags, v1::Instance* instance) {
  for (const std::string& text : flags.ttl_checks) {
    const auto check = ParseTtlCheck(text);
    if (!check.ok()) return check.status();
    *instance->add_checks() = *check;
  }
  for (const std::string& spec : flags.probes) {
    const auto check = ParseProbe(spec, "--check-ttl ID=30s for that");
    if (!check.ok()) return check.status();
    *instance->add_checks() = *check;
  }
  return absl::OkStatus();
}

// On top of what the file says.
absl::Status SetInstance(const Flags& flags, v1::Instance* instance) {
  const absl::Status quick = ParseQuickInstance(flags.words, instance);
  if (!quick.ok()) return quick;
  SetText(flags.service, instance->mutable_service());
  SetText(flags.id, instance->mutable_id());
  SetText(flags.node, instance->mutable_node());
  SetText(flags.name_space, instance->mutable_namespace_());
  SetText(flags.address, instance->mutable_address());
  SetText(flags.version, instance->mutable_version());
  SetText(flags.protocol, instance->mutable_protocol());
  if (!flags.zone.empty()) instance->mutable_locality()->set_zone(flags.zone);
  if (!flags.region.empty()) instance->mutable_locality()->set_region(flags.region);
  for (const std::string& tag : flags.tags) instance->add_tags(tag);
  const auto metadata = ParsePairs("--meta", flags.metadata);
  if (!metadata.ok()) return metadata.status();
  for (const auto& [key, value] : *metadata) (*instance->mutable_metadata())[key] = value;
  if (absl::Status status = AddChecks(flags, instance); !status.ok()) return status;
  if (instance->service().empty()) {
    if (flags.file.empty()) return absl::InvalidArgumentError("no service name given");
    return absl::InvalidArgumentError("the file names no service");
  }
  return SetNumbers(flags, instance);
}

absl::Status SetLease(const Flags& flags, v1::RegisterRequest* request) {
  if (!flags.ttl.empty()) {
    const auto ttl = base::ParseDuration(flags.ttl);
    if (!ttl.ok()) return ttl.status();
    SetDuration(*ttl, request->mutable_ttl());
    request->set_permanent(false);
  }
  if (flags.permanent) {
    request->clear_ttl();
    request->set_permanent(true);
  }
  if (!request->permanent() || !flags.keepalive) return absl::OkStatus();
  return absl::InvalidArgumentError("--keepalive: the file says permanent, so there is no lease");
}

// On top of what the file says, which is in `request`.
absl::Status SetRequest(const Flags& flags, base::Rng& rng, v1::RegisterRequest* request) {
  absl::Status status = SetInstance(flags, request->mutable_instance());
  if (status.ok()) status = SetLease(flags, request);
  if (!status.ok()) return status;
  if (!flags.life.empty()) {
    const auto life = ParseLife(flags.life);
    if (!life.ok()) return life.status();
    request->set_life_id(*life);
  } else if (flags.keepalive) {
    // Registering again after a loss has to be the same life.
    for (int i = 0; i < 16; ++i) request->mutable_life_id()->push_back(rng.Next() & 0xFF);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadAll(Context& context, const std::string& path) {
  if (path != "-") return ReadFile(path);
  std::string text(kMaxYamlBytes + 1, '\0');
  context.in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(context.in.gcount()));
  return text;
}

// What the file says of each instance; without a file, of one that nothing is said of.
absl::StatusOr<std::vector<v1::RegisterRequest>> ReadRequests(Context& context,
                                                              const Flags& flags) {
  if (flags.file.empty()) return std::vector<v1::RegisterRequest>(1);
  const auto text = ReadAll(context, flags.file);
  if (!text.ok()) return text.status();
  auto requests = ParseInstances(*text, flags.file == "-" ? kStandardInput : flags.file);
  if (!requests.ok() || requests->size() == 1 || flags.beside_file.empty()) return requests;
  return absl::InvalidArgumentError(absl::StrCat(
      flags.beside_file, " goes with a file of one instance; this one has ", requests->size()));
}

absl::Status CallRegister(Context& context, const v1::RegisterRequest& request,
                          v1::RegisterResponse* response) {
  return CallUnary<v1::Registry>(*context.connection, &v1::Registry::Stub::Register, request,
                                 response);
}

// Until a server can be reached, or a signal comes. The life makes repeating safe.
absl::Status RegisterPatiently(Context& context, Interrupt& interrupt,
                               const v1::RegisterRequest& request, v1::RegisterResponse* response) {
  const base::Backoff backoff{absl::Milliseconds(200), absl::Seconds(2)};
  for (int attempt = 0;; ++attempt) {
    const absl::Status status = CallRegister(context, request, response);
    if (!absl::IsUnavailable(status) || interrupt.came()) return status;
    if (attempt == 0) context.Note(absl::StrCat(status.message(), "; trying again"));
    if (interrupt.WaitFor(kLeastDelay + backoff.Delay(attempt, context.rng))) return status;
  }
}

// A lease that this process keeps.
class Keeper {
 public:
  Keeper(Context& context, Interrupt& interrupt, v1::RegisterRequest request,
         v1::RegisterResponse registered)
      : context_(context),
        interrupt_(interrupt),
        request_(std::move(request)),
        registered_(std::move(registered)) {}

  // Until a signal (kDone, deregistered) or a newer life (kFailed).
  int Run() {
    // A server that hangs must not eat the lease.
    context_.connection->LimitCalls(Interval());
    while (!interrupt_.WaitFor(NextDelay())) {
      if (!Beat()) return kFailed;
    }
    return Leave();
  }

 private:
  absl::Duration Interval() const {
    const absl::Duration interval = ToDuration(registered_.heartbeat_interval());
    return interval > absl::ZeroDuration() ? interval : absl::Seconds(10);
  }

  absl::Duration NextDelay() {
    const absl::Duration interval = Interval();
    if (failures_ == 0) return interval * (0.8 + 0.2 * context_.rng.Unit());
    const base::Backoff backoff{absl::Milliseconds(200), interval};
    return kLeastDelay + backoff.Delay(failures_ - 1, context_.rng);
  }

  // False: stop.
  bool Beat() {
    v1::HeartbeatRequest request;
    request.add_lease_handles(registered_.lease_handle());
    v1::HeartbeatResponse response;
    const absl::Status status = CallUnary<v1::Registry>(
        *context_.connection, &v1::Registry::Stub::Heartbeat, request, &response);
    if (!status.ok()) return Missed(status);
    const auto outcome = response.outcomes_size() == 1 ? response.outcomes(0)
                                                       : HeartbeatOutcome::OUTCOME_UNSPECIFIED;
    if (outcome == HeartbeatOutcome::UNKNOWN) return RegisterAgain();
    if (outcome == HeartbeatOutcome::STALE) {
      context_.Fail(absl::AbortedError("a newer life has registered under this key; stopping"));
      return false;
    }
    if (failures_ > 0) context_.err << "muster: the lease is kept again" << std::endl;
    failures_ = 0;
    return true;
  }

  bool Missed(const absl::Status& status) {
    // Once for each loss, not once for each try; a signal is no loss.
    if (interrupt_.came()) return true;
    if (failures_++ == 0) context_.Note(absl::StrCat(status.message(), "; trying again"));
    return true;
  }

  bool RegisterAgain() {
    v1::RegisterResponse response;
    const absl::Status status = CallRegister(context_, request_, &response);
    const std::string reason = client::ReasonOf(status);
    if (reason == "SUPERSEDED" || reason == "STALE_INCARNATION") {
      context_.Fail(status);
      return false;
    }
    if (!status.ok()) return Missed(status);
    registered_ = response;
    failures_ = 0;
    context_.err << "muster: registered again" << std::endl;
    return true;
  }

  int Leave() {
    context_.connection->CancelBy(nullptr);
    v1::DeregisterRequest request;
    *request.mutable_key() = registered_.key();
    request.set_incarnation(registered_.incarnation());
    v1::DeregisterResponse response;
    const absl::Status status = CallUnary<v1::Registry>(
        *context_.connection, &v1::Registry::Stub::Deregister, request, &response);
    return status.ok() || absl::IsNotFound(status) ? kDone : context_.Fail(status);
  }

  Context& context_;
  Interrupt& interrupt_;
  const v1::RegisterRequest request_;
  v1::RegisterResponse registered_;
  int failures_ = 0;
};

void PrintRegistered(Context& context, const v1::RegisterResponse& response) {
  if (context.json) return context.PrintJson(response);
  context.out << RegisteredText(response) << std::endl;
}

int RunKeepalive(Context& context, const v1::RegisterRequest& request) {
  Interrupt interrupt(context.clock);
  if (const int code = context.Connect()) return code;
  context.connection->CancelBy(&interrupt);
  v1::RegisterResponse response;
  const absl::Status status = RegisterPatiently(context, interrupt, request, &response);
  if (interrupt.came() && !status.ok()) return kDone;
  if (!status.ok()) return context.Fail(status);
  PrintRegistered(context, response);
  return Keeper(context, interrupt, request, response).Run();
}

int RunRegister(Context& context, const Flags& flags) {
  auto requests = ReadRequests(context, flags);
  if (!requests.ok()) return context.Refuse(requests.status());
  if (requests->size() > 1) return RegisterBatch(context, *requests);
  v1::RegisterRequest& request = requests->front();
  const absl::Status set = SetRequest(flags, context.rng, &request);
  if (!set.ok()) return context.Refuse(set);
  if (flags.keepalive) return RunKeepalive(context, request);
  if (const int code = context.Connect()) return code;
  v1::RegisterResponse response;
  const absl::Status status = CallRegister(context, request, &response);
  if (!status.ok()) return context.Fail(status);
  PrintRegistered(context, response);
  return kDone;
}

// The first that was given and is not the file.
std::string GivenBesideFile(const CLI::App& command) {
  for (const CLI::Option* option : command.get_options()) {
    if (option->count() > 0 && !option->check_lname("file")) return option->get_name();
  }
  return "";
}

}  // namespace

void AddRegisterCommand(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("register", "Register an instance, or renew it");
  command->footer(absl::StrCat(
      kCheckHelp,
      "\n--file holds the keys of v1.Instance, and ttl and permanent: one instance, which flags "
      "add\n"
      "to and override, or several as documents or as a list \"instances\", without other flags.\n"
      "Example: muster register web 10.0.0.7:8080 --tag blue --probe http:/health --keepalive"));
  auto flags = std::make_shared<Flags>();
  command->add_option("instance", flags->words, "NAME[:PORT], or NAME ADDRESS:PORT")
      ->expected(0, 2);
  command->add_option("--service", flags->service, "Name of the service");
  command->add_option("--id", flags->id, "Unset = made from service, address and port");
  command->add_option("--node", flags->node, "Machine that runs it");
  command->add_option("--namespace", flags->name_space, "Unset = default");
  command->add_option("--address", flags->address, "Unset = where the call comes from");
  command->add_option("--port", flags->port, "0 to 65535");
  command->add_option("--tag", flags->tags, "May be repeated")->allow_extra_args(false);
  command->add_option("--meta", flags->metadata, "key=value; may be repeated")
      ->allow_extra_args(false);
  command->add_option("--named-port", flags->named_ports, "name=port; may be repeated")
      ->allow_extra_args(false);
  command->add_option("--version", flags->version, "Version of the service");
  command->add_option("--protocol", flags->protocol, "Hint: http, grpc, tcp");
  command->add_option("--zone", flags->zone, "Where it runs");
  command->add_option("--region", flags->region, "Where it runs");
  command->add_option("--weight", flags->weight, "Share of traffic, or passing/warning");
  command
      ->add_option("--check-ttl", flags->ttl_checks,
                   "id=30s: critical until reported; may be repeated")
      ->allow_extra_args(false);
  command
      ->add_option("--probe", flags->probes,
                   "SPEC of an http, tcp or grpc check that the server runs; may be repeated")
      ->allow_extra_args(false);
  auto* ttl = command->add_option("--ttl", flags->ttl, "Lease, 1s to 24h; unset = 30s");
  command->add_flag("--permanent", flags->permanent, "No lease; excludes --ttl and --keepalive");
  command->add_option("--life", flags->life, "32 hexadecimal digits that name this process's life");
  command->add_flag("--keepalive", flags->keepalive, "Keep the lease until SIGINT or SIGTERM");
  command->add_option("-f,--file", flags->file,
                      "Instances as YAML or JSON; - = standard input, 1 MiB at most");
  command->callback([&context, flags, ttl, command] {
    // CLI11's own excludes() tells them in another order in each process.
    if (flags->permanent && ttl->count() > 0) throw CLI::ExcludesError("--permanent", "--ttl");
    if (flags->permanent && flags->keepalive) {
      throw CLI::ExcludesError("--permanent", "--keepalive");
    }
    flags->beside_file = GivenBesideFile(*command);
    context.run = [&context, flags] { return RunRegister(context, *flags); };
  });
}

}  // namespace muster::cli

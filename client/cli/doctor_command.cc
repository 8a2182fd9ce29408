// doctor: says step by step why a name does or doesn't lead to somebody who answers.
#include <google/protobuf/struct.pb.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <future>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/duration_text.h"
#include "base/text.h"
#include "client/cli/check_view.h"
#include "client/cli/context.h"
#include "client/cli/render.h"
#include "client/cli/source_text.h"
#include "client/cli/tcp_probe.h"
#include "client/environment.h"
#include "client/fallback/cares_dns.h"
#include "client/fallback/overrides.h"
#include "muster/client/client.h"
#include "muster/v1/discovery.grpc.pb.h"

namespace muster::cli {
namespace {

using client::Resolution;
using client::Target;

constexpr absl::Duration kPatience = absl::Seconds(2);
// Of those that are connected to.
constexpr size_t kMostProbes = 20;

struct Flags {
  std::string name;
};

// What was looked at, printed as soon as it is known.
class Findings {
 public:
  explicit Findings(Context& context) : context_(context) {}

  void Ok(const std::string& what, const std::string& text) {
    Add("ok", Colour::kGreen, what, text);
  }
  // Worth knowing, and no reason to fail.
  void Note(const std::string& what, const std::string& text) {
    Add("note", Colour::kYellow, what, text);
  }
  void Bad(const std::string& what, const std::string& text) {
    Add("bad", Colour::kRed, what, text);
  }
  void Print() {
    if (context_.json) context_.PrintJson(json_);
  }

 private:
  void Add(const std::string& mark, Colour colour, const std::string& what,
           const std::string& text) {
    auto& step = *(*json_.mutable_fields())["steps"]
                      .mutable_list_value()
                      ->add_values()
                      ->mutable_struct_value()
                      ->mutable_fields();
    step["verdict"].set_string_value(mark);
    step["step"].set_string_value(what);
    step["text"].set_string_value(text);
    if (context_.json) return;
    const auto padded = [](const std::string& word, size_t width) {
      return word + std::string(word.size() < width ? width - word.size() : 0, ' ');
    };
    context_.out << Paint(padded(mark, 4), colour, context_.colours) << "  " << padded(what, 11)
                 << "  " << base::EscapeForTerminal(text) << std::endl;
  }

  Context& context_;
  google::protobuf::Struct json_;
};

void LookAtName(const Target& target, Findings& findings) {
  switch (target.kind) {
    case Target::Kind::kStatic:
      return findings.Ok("name", "says itself where it is; nobody is asked");
    case Target::Kind::kDns:
      return findings.Ok("name", absl::StrCat("is of DNS: ", target.dns.host));
    case Target::Kind::kService:
      return findings.Ok("name", absl::StrCat("is the service ", base::Quoted(target.query.service),
                                              target.query.ns == "default"
                                                  ? ""
                                                  : absl::StrCat(" of the namespace ",
                                                                 base::Quoted(target.query.ns))));
  }
}

void LookAtEnvironment(const Target& target, Findings& findings) {
  if (target.kind != Target::Kind::kService) return;
  const client::Overrides overrides(client::EnvironmentVariablesWith("_URL"), "");
  if (overrides.Find(target.query.service) == nullptr) {
    return findings.Ok("environment", "says nothing else");
  }
  findings.Note(
      "environment",
      absl::StrCat(client::Overrides::VariableOf(target.query.service), "=",
                   client::EnvironmentVariable(client::Overrides::VariableOf(target.query.service)),
                   " is set; it beats the registry"));
}

// What a server says of all instances, whatever their state, and the way to it.
struct Answer {
  std::unique_ptr<Connection> connection;
  v1::DiscoverResponse all;
};

// Nullopt: the server doesn't say.
std::optional<Answer> AskServer(const ConnectionOptions& options, const std::string& address,
                                const Target& target, Findings& findings) {
  ConnectionOptions one = options;
  one.addresses = {address};
  one.timeout = std::min(one.timeout, kPatience);
  auto connection = Connection::Open(std::move(one));
  if (!connection.ok()) {
    findings.Bad("registry", std::string(connection.status().message()));
    return std::nullopt;
  }
  v1::DiscoverRequest request;
  request.set_namespace_(target.query.ns);
  request.set_service(target.query.service);
  request.mutable_selector()->set_min_health(v1::Selector::ANY);
  request.mutable_selector()->set_include_draining(true);
  v1::DiscoverResponse response;
  const absl::Status status =
      CallUnary<v1::Discovery>(**connection, &v1::Discovery::Stub::Discover, request, &response);
  if (!status.ok()) {
    findings.Bad("registry", std::string(status.message()));
    return std::nullopt;
  }
  findings.Ok("registry", absl::StrCat(address, " answers"));
  return Answer{*std::move(connection), std::move(response)};
}

// Bytes of an output at most.
constexpr size_t kMostOutput = 200;

// One that nobody has reported yet is critical.
v1::Health HealthOf(const v1::CheckState& check) {
  const v1::Health status = check.latest().status();
  return status == v1::HEALTH_UNSPECIFIED ? v1::CRITICAL : status;
}

std::string CheckText(const v1::CheckState& check) {
  const v1::CheckResult& latest = check.latest();
  const bool none = latest.status() == v1::HEALTH_UNSPECIFIED;
  const std::string why = !none                     ? FirstLine(latest.output(), kMostOutput)
                          : check.check().has_ttl() ? "nobody has reported it yet"
                                                    : "the server has no result of it yet";
  return absl::StrCat("the check ", base::Quoted(check.check().id()), " is ",
                      HealthName(HealthOf(check)), why.empty() ? "" : ": ", why);
}

// Why this one is as it is; else, what tells.
std::string WhySick(Connection& connection, const Target& target, const v1::Endpoint& endpoint) {
  v1::DescribeInstanceRequest request;
  auto* key = request.mutable_key();
  key->set_namespace_(target.query.ns);
  key->set_service(target.query.service);
  key->set_node(endpoint.node());
  key->set_id(endpoint.id());
  v1::DescribeInstanceResponse response;
  const absl::Status status = CallUnary<v1::Discovery>(
      connection, &v1::Discovery::Stub::DescribeInstance, request, &response);
  for (const v1::CheckState& check : response.checks()) {
    if (!status.ok() || HealthOf(check) != endpoint.health()) continue;
    return absl::StrCat("of ", endpoint.id(), " ", CheckText(check));
  }
  return absl::StrCat("muster describe ", target.query.service, " ", endpoint.id(),
                      endpoint.node().empty() ? "" : absl::StrCat(" --node ", endpoint.node()),
                      " says more");
}

// One stands for all: when none is well, the reason is mostly the same.
void LookAtChecks(Answer& answer, const Target& target, Findings& findings) {
  const auto& all = answer.all.endpoints();
  const auto passing = [](const v1::Endpoint& one) { return one.health() == v1::PASSING; };
  if (all.empty() || std::any_of(all.begin(), all.end(), passing)) return;
  const auto worst = std::max_element(
      all.begin(), all.end(), [](const auto& a, const auto& b) { return a.health() < b.health(); });
  findings.Bad("checks", WhySick(*answer.connection, target, *worst));
}

// Those that get no calls are named with the reason.
void LookAtInstances(const v1::DiscoverResponse& all, Findings& findings) {
  if (all.endpoints().empty()) {
    return findings.Bad("instances", EmptyReasonText(all.empty_reason()));
  }
  int well = 0;
  std::vector<std::string> others;
  for (const v1::Endpoint& endpoint : all.endpoints()) {
    if (endpoint.health() == v1::PASSING && endpoint.state() == v1::ACTIVE) {
      ++well;
      continue;
    }
    others.push_back(absl::StrCat(endpoint.id(), " is ",
                                  endpoint.health() == v1::PASSING
                                      ? StateName(endpoint.state())
                                      : HealthName(endpoint.health())));
  }
  const std::string text =
      absl::StrCat(well, " of ", Count(static_cast<uint64_t>(all.endpoints_size()), "instance"),
                   well == 1 || all.endpoints_size() == 1 ? " is" : " are", " passing and active",
                   others.empty() ? "" : "; ", absl::StrJoin(others, ", "));
  if (well == 0) return findings.Bad("instances", text);
  others.empty() ? findings.Ok("instances", text) : findings.Note("instances", text);
}

void LookAtRegistry(const ConnectionOptions& options, const Target& target, Findings& findings) {
  if (target.kind != Target::Kind::kService) return;
  std::optional<Answer> first;
  for (const std::string& address : options.addresses) {
    auto answer = AskServer(options, address, target, findings);
    if (answer && !first) first = std::move(answer);
  }
  if (!first) return;
  LookAtInstances(first->all, findings);
  LookAtChecks(*first, target, findings);
}

void LookAtDns(const Target& target, bool matters, const base::Clock& clock, Findings& findings) {
  if (target.kind == Target::Kind::kStatic) return;
  std::promise<absl::StatusOr<client::DnsAnswer>> promise;
  client::CaresDns dns({}, clock);
  dns.Lookup(target.dns, [&promise](absl::StatusOr<client::DnsAnswer> answer) {
    promise.set_value(std::move(answer));
  });
  const auto answer = promise.get_future().get();
  if (!answer.ok()) {
    const std::string why(answer.status().message());
    return matters ? findings.Bad("DNS", why) : findings.Note("DNS", why);
  }
  std::vector<std::string> addresses;
  for (const auto& endpoint : answer->endpoints) {
    addresses.push_back(AddressText(endpoint->address.host, endpoint->address.port));
  }
  findings.Ok("DNS", absl::StrCat(target.dns.host, " is ", absl::StrJoin(addresses, ", "), "; TTL ",
                                  base::FormatDuration(answer->ttl)));
}

// True: somebody answers.
bool LookAtEndpoints(const Target& target, const Resolution& answer, Findings& findings) {
  bool somebody = false;
  size_t probed = 0;
  for (const auto& endpoint : *answer.endpoints) {
    if (++probed > kMostProbes) {
      findings.Note("connect", absl::StrCat(answer.endpoints->size() - kMostProbes,
                                            " more are not looked at"));
      break;
    }
    client::Address address = endpoint->address;
    if (address.port == 0) address.port = target.dns.port;
    const std::string text = AddressText(address.host, address.port);
    if (address.port == 0) {
      findings.Note("connect", absl::StrCat(text, " has no port"));
      continue;
    }
    const absl::Status status = ProbeTcp(address, kPatience);
    somebody |= status.ok();
    if (status.ok()) {
      findings.Ok("connect", text);
    } else {
      findings.Bad("connect", absl::StrCat(text, ": ", status.message()));
    }
  }
  return somebody;
}

int RunDoctor(Context& context, const Flags& flags) {
  const auto target = client::ParseTarget(flags.name);
  if (!target.ok()) return context.Usage(target.status());
  ConnectionOptions options;
  if (const int code = context.ReadOptions(&options)) return code;
  Findings findings(context);
  LookAtName(*target, findings);
  LookAtEnvironment(*target, findings);
  LookAtRegistry(options, *target, findings);
  std::optional<client::Client> client;
  if (const int code = context.MakeClient(options, {.first_answer = kPatience}, &client)) {
    return code;
  }
  const auto answer = client->Resolve(flags.name);
  const bool by_dns =
      !answer.ok() || answer->endpoints->empty() || answer->source == Resolution::Source::kDns;
  LookAtDns(*target, by_dns, context.clock, findings);
  bool somebody = false;
  if (!answer.ok()) {
    findings.Bad("answer", std::string(answer.status().message()));
  } else if (answer->endpoints->empty()) {
    findings.Bad("answer", answer->WhyEmpty(target->query.service));
  } else {
    const std::string text = absl::StrCat(
        Count(answer->endpoints->size(), "endpoint"), ", from ", SourceText(answer->source),
        answer->age < absl::Seconds(1)
            ? ""
            : absl::StrCat(", ", base::FormatDuration(absl::Trunc(answer->age, absl::Seconds(1))),
                           " old"));
    answer->source == Resolution::Source::kRegistry ? findings.Ok("answer", text)
                                                    : findings.Note("answer", text);
    somebody = LookAtEndpoints(*target, *answer, findings);
  }
  findings.Print();
  return somebody ? kDone : kFailed;
}

}  // namespace

void AddDoctorCommand(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("doctor", "Why a name leads to nobody, step by step");
  command->footer(
      "Looks at the name, the environment, each server of the registry, the instances, DNS, and\n"
      "connects to what an application would be given. Exit code 1 when nobody answers.\n"
      "Example: muster doctor http://user-service:8002");
  auto flags = std::make_shared<Flags>();
  command->add_option("name", flags->name, "A service, a URL, a name of Consul or of DNS")
      ->required();
  command->callback([&context, flags] {
    context.run = [&context, flags] { return RunDoctor(context, *flags); };
  });
}

}  // namespace muster::cli

// resolve: where a service is, for scripts, as the client library finds it.
#include <google/protobuf/struct.pb.h>

#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "client/cli/context.h"
#include "client/cli/source_text.h"
#include "muster/client/client.h"

namespace muster::cli {
namespace {

using client::Resolution;

struct Flags {
  std::string name;
  std::string within = "3s";
  bool all = false;
  bool no_snapshot = false;
};

// The port that the name gives stands in where nobody knows one.
std::string UrlOf(const client::Target& target, const client::Endpoint& endpoint) {
  const uint16_t port = endpoint.address.port != 0 ? endpoint.address.port : target.dns.port;
  return target.Url(endpoint.address.host, port);
}

void PrintJson(Context& context, const client::Target& target, const Resolution& answer) {
  google::protobuf::Struct out;
  auto& fields = *out.mutable_fields();
  fields["source"].set_string_value(SourceText(answer.source));
  fields["age"].set_string_value(base::FormatDuration(absl::Trunc(answer.age, absl::Seconds(1))));
  auto& list = *fields["endpoints"].mutable_list_value();
  for (const auto& endpoint : *answer.endpoints) {
    auto& one = *list.add_values()->mutable_struct_value()->mutable_fields();
    one["url"].set_string_value(UrlOf(target, *endpoint));
    one["id"].set_string_value(endpoint->id);
    one["host"].set_string_value(endpoint->address.host);
    one["port"].set_number_value(endpoint->address.port);
    if (!endpoint->zone.empty()) one["zone"].set_string_value(endpoint->zone);
  }
  context.PrintJson(out);
}

// One by chance, by weight; or all.
void Print(Context& context, const Flags& flags, const client::Client& client,
           const client::Target& target, const Resolution& answer) {
  if (context.json) return PrintJson(context, target, answer);
  if (flags.all) {
    for (const auto& endpoint : *answer.endpoints) {
      context.out << UrlOf(target, *endpoint) << std::endl;
    }
    return;
  }
  const auto balancer = client.Balance(flags.name);
  const client::Pick pick = balancer.ok() ? balancer->Next() : client::Pick();
  context.out << UrlOf(target, pick ? *pick : *answer.endpoints->front()) << std::endl;
}

int RunResolve(Context& context, const Flags& flags) {
  const auto within = base::ParseDuration(flags.within);
  if (!within.ok()) return context.Usage(within.status());
  const auto target = client::ParseTarget(flags.name);
  if (!target.ok()) return context.Usage(target.status());
  ConnectionOptions connection;
  if (const int code = context.ReadOptions(&connection)) return code;
  std::optional<client::Client> client;
  if (const int code =
          context.MakeClient(std::move(connection),
                             {.first_answer = *within, .snapshot = !flags.no_snapshot}, &client)) {
    return code;
  }
  const auto answer = client->Resolve(flags.name);
  if (!answer.ok()) return context.Fail(answer.status());
  if (answer->endpoints->empty()) {
    return context.Fail(absl::NotFoundError(
        answer->WhyEmpty(target->kind == client::Target::Kind::kService ? target->query.service
                                                                        : target->dns.host)));
  }
  if (answer->source != Resolution::Source::kRegistry) {
    std::string note = absl::StrCat("from ", SourceText(answer->source));
    if (answer->age >= absl::Seconds(1)) {
      absl::StrAppend(&note, ", ", base::FormatDuration(absl::Trunc(answer->age, absl::Seconds(1))),
                      " old");
    }
    context.Note(note);
  }
  Print(context, flags, *client, *target, *answer);
  return kDone;
}

}  // namespace

void AddResolveCommand(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("resolve", "Where a service is, for scripts");
  command->footer(
      "As the client library finds it: the registry, else what it said last, else DNS;\n"
      "USER_SERVICE_URL in the environment beats all. Of a URL host and port are replaced.\n"
      "Exit code 1 when there is nobody.\n"
      "Example: curl \"$(muster resolve http://user-service:8002/health)\"");
  auto flags = std::make_shared<Flags>();
  command->add_option("name", flags->name, "A service, a URL, a name of Consul or of DNS")
      ->required();
  command->add_flag("--all", flags->all, "All endpoints, not one by chance");
  command->add_option("--within", flags->within, "How long to wait for the registry")
      ->capture_default_str();
  command->add_flag("--no-snapshot", flags->no_snapshot,
                    "Neither reads nor writes what the registry said last");
  command->callback([&context, flags] {
    context.run = [&context, flags] { return RunResolve(context, *flags); };
  });
}

}  // namespace muster::cli

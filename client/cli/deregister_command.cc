// deregister: one instance by its key, or all of a service or a node after a question.
#include <CLI/CLI.hpp>
#include <istream>
#include <ostream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "client/cli/context.h"
#include "client/cli/leases.h"
#include "client/cli/parse.h"
#include "client/cli/render.h"
#include "muster/v1/admin.grpc.pb.h"
#include "muster/v1/registry.grpc.pb.h"

namespace muster::cli {
namespace {

struct Flags {
  std::vector<std::string> words;
  std::string service, node, name_space, incarnation;
  bool yes = false;
};

absl::Status Deregister(Context& context, const v1::InstanceKey& key, uint64_t incarnation,
                        v1::DeregisterResponse* response) {
  v1::DeregisterRequest request;
  *request.mutable_key() = key;
  request.set_incarnation(incarnation);
  return CallUnary<v1::Registry>(*context.connection, &v1::Registry::Stub::Deregister, request,
                                 response);
}

int RunOne(Context& context, const Flags& flags) {
  uint64_t incarnation = 0;
  if (!flags.incarnation.empty()) {
    const auto parsed = ParseIncarnation(flags.incarnation);
    if (!parsed.ok()) return context.Usage(parsed.status());
    incarnation = *parsed;
  }
  v1::InstanceKey key;
  key.set_namespace_(flags.name_space.empty() ? "default" : flags.name_space);
  key.set_service(flags.words[0]);
  key.set_node(flags.node);
  key.set_id(flags.words[1]);
  if (const int code = context.Connect()) return code;
  v1::DeregisterResponse response;
  const absl::Status status = Deregister(context, key, incarnation, &response);
  if (!status.ok()) return context.FailKey(status, flags.node);
  if (context.json) {
    context.PrintJson(response);
  } else {
    context.out << "deregistered " << KeyText(key) << std::endl;
  }
  return kDone;
}

// kDone = go on.
int Confirm(Context& context, const Flags& flags, const v1::ListLeasesResponse& found) {
  if (flags.yes) return kDone;
  const int count = found.leases_size();
  const std::string what =
      count == 1 ? "this instance" : absl::StrCat("these ", count, " instances");
  // The question goes where it is seen, and the answer of `-o json` stays JSON.
  context.err << LeaseTable(found).Text(false);
  if (!context.interactive) {
    return context.Usage(absl::StrCat("give --yes to deregister ", what));
  }
  context.err << "Deregister " << what << "? [y/N] " << std::flush;
  std::string answer;
  std::getline(context.in, answer);
  answer = base::AsciiLower(std::string(absl::StripAsciiWhitespace(answer)));
  if (answer == "y" || answer == "yes") return kDone;
  context.Note("nothing was deregistered");
  return kFailed;
}

// Each with the incarnation that was shown: a life that began since then stays.
int DeregisterAll(Context& context, const v1::ListLeasesResponse& found) {
  v1::ListLeasesResponse gone;
  for (const auto& lease : found.leases()) {
    v1::DeregisterResponse response;
    const absl::Status status = Deregister(context, lease.key(), lease.incarnation(), &response);
    if (status.ok()) {
      *gone.add_leases() = lease;
    } else if (!absl::IsNotFound(status)) {
      context.Note(absl::StrCat(KeyText(lease.key()), ": ", status.message()));
    } else {
      context.Note(absl::StrCat(KeyText(lease.key()), " had already left"));
    }
  }
  if (context.json) {
    context.PrintJson(gone);
  } else {
    context.out << "deregistered " << gone.leases_size() << " of "
                << Count(found.leases_size(), "instance") << std::endl;
  }
  return gone.leases_size() == found.leases_size() ? kDone : kFailed;
}

int RunMany(Context& context, const Flags& flags) {
  if (const int code = context.Connect()) return code;
  v1::ListLeasesRequest request;
  if (flags.name_space != "*") {
    request.set_namespace_(flags.name_space.empty() ? "default" : flags.name_space);
  }
  request.set_service(flags.service);
  request.set_node(flags.node);
  request.set_include_permanent(true);
  v1::ListLeasesResponse found;
  const absl::Status status = ReadLeases(*context.connection, request, &found);
  if (!status.ok()) return context.Fail(status);
  if (found.leases().empty()) return context.Fail(absl::NotFoundError("there is no such instance"));
  if (const int code = Confirm(context, flags, found)) return code;
  return DeregisterAll(context, found);
}

int RunDeregister(Context& context, const Flags& flags) {
  const bool many = flags.words.empty() && (!flags.service.empty() || !flags.node.empty());
  if (many && !flags.incarnation.empty()) {
    return context.Usage("deregister: --incarnation goes with NAME ID only");
  }
  if (many) return RunMany(context, flags);
  if (flags.words.size() == 2 && flags.service.empty()) return RunOne(context, flags);
  return context.Usage("deregister: expected NAME ID, or --service NAME, or --node NAME");
}

}  // namespace

void AddDeregisterCommand(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("deregister", "Remove instances");
  command->footer(
      "--service and --node show what would go and ask first; a life that begins meanwhile stays.\n"
      "Example: muster deregister web web-1 --node n1\n"
      "Example: muster deregister --service web --yes");
  auto flags = std::make_shared<Flags>();
  command->add_option("instance", flags->words, "NAME ID")->expected(0, 2);
  command->add_option("--service", flags->service, "All of this service");
  command->add_option("--node", flags->node, "With NAME ID: its node. Else: all of this node");
  command->add_option("--namespace", flags->name_space,
                      "Unset = default; with --service or --node, * = all");
  command->add_option("--incarnation", flags->incarnation, "Only this life; unset = whichever");
  command->add_flag("-y,--yes", flags->yes, "Don't ask");
  command->callback([&context, flags] {
    context.run = [&context, flags] { return RunDeregister(context, *flags); };
  });
}

}  // namespace muster::cli

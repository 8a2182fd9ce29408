// salvage: a data directory whose last record can't be read, without that record.
#include <CLI/CLI.hpp>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "client/cli/context.h"
#include "client/cli/render.h"
#include "google/protobuf/struct.pb.h"
#include "storage/rocksdb/salvage.h"

namespace muster::cli {
namespace {

void Say(Context& context, const std::string& data_dir, const storage::Salvage& salvage,
         const storage::Salvaged& salvaged) {
  if (context.json) {
    google::protobuf::Struct done;
    (*done.mutable_fields())["dataDir"].set_string_value(data_dir);
    (*done.mutable_fields())["file"].set_string_value(salvage.file);
    (*done.mutable_fields())["droppedBytes"].set_number_value(static_cast<double>(salvage.bytes));
    context.PrintJson(done);
    return;
  }
  const std::string shown = base::EscapeForTerminal(data_dir);
  if (salvaged.kept.empty()) {
    context.out << "nothing was left to be dropped";
  } else {
    context.out << "dropped " << Count(salvage.bytes, "byte") << " of " << salvage.file
                << ", kept in " << salvaged.kept;
  }
  context.out << "; new epoch " << salvaged.revision.epoch << "; start: musterd --data-dir "
              << shown << std::endl;
}

int RunSalvage(Context& context, const std::string& data_dir, bool yes) {
  const auto plan = storage::PlanSalvage(data_dir);
  if (!plan.ok()) return context.Fail(plan.status());
  if (!yes && plan->file.empty()) {
    context.Note(plan->why);
    return context.Usage("give --yes to begin a new epoch with what is there");
  }
  if (!yes) {
    context.Note(absl::StrCat(plan->why, ": ", Count(plan->bytes, "byte"), " would be dropped"));
    return context.Usage("give --yes to drop them: what they held is lost, if it was acknowledged");
  }
  const auto salvaged = storage::RunSalvage(data_dir, context.clock, context.rng);
  if (!salvaged.ok()) return context.Fail(salvaged.status());
  Say(context, data_dir, *plan, *salvaged);
  return kDone;
}

}  // namespace

void AddSalvageCommand(CLI::App& app, Context& context) {
  auto* command =
      app.add_subcommand("salvage", "Open a store whose last record can't be read, without it");
  command->footer(
      "Works offline, when musterd says so at its start; without --yes it shows what would go.\n"
      "The store begins a new epoch: clients that watch start over.\n"
      "Example: muster salvage --data-dir ./data --yes");
  auto data_dir = std::make_shared<std::string>();
  auto yes = std::make_shared<bool>(false);
  command->add_option("--data-dir", *data_dir, "Of a server that doesn't run")->required();
  command->add_flag("-y,--yes", *yes, "Do it");
  command->callback([&context, data_dir, yes] {
    context.run = [&context, data_dir, yes] { return RunSalvage(context, *data_dir, *yes); };
  });
}

}  // namespace muster::cli

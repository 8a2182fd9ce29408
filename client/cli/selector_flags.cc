#include "client/cli/selector_flags.h"

#include <CLI/CLI.hpp>

#include "client/cli/parse.h"

namespace muster::cli {

void AddSelectorFlags(CLI::App& command, SelectorFlags& flags) {
  command.add_option("--namespace", flags.name_space, "Unset = default");
  command.add_option("--tag", flags.tags, "Has this tag; may be repeated")->allow_extra_args(false);
  command.add_option("--meta", flags.metadata, "Has this key=value; may be repeated")
      ->allow_extra_args(false);
  command.add_option("--version", flags.version, "Exactly this version");
  command.add_option("--min-health", flags.min_health, "passing (the default), warning or any");
  command.add_flag("--include-draining", flags.include_draining,
                   "Also those that are draining; with --min-health any, in maintenance as well");
}

absl::StatusOr<v1::Selector> MakeSelector(const SelectorFlags& flags) {
  v1::Selector selector;
  for (const std::string& tag : flags.tags) selector.add_all_tags(tag);
  const auto metadata = ParsePairs("--meta", flags.metadata);
  if (!metadata.ok()) return metadata.status();
  for (const auto& [key, value] : *metadata) (*selector.mutable_metadata())[key] = value;
  selector.set_version(flags.version);
  if (!flags.min_health.empty()) {
    const auto least = ParseMinHealth(flags.min_health);
    if (!least.ok()) return least.status();
    selector.set_min_health(*least);
  }
  selector.set_include_draining(flags.include_draining);
  return selector;
}

}  // namespace muster::cli

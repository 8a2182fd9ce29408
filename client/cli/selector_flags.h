// The flags of `discover` and `watch` that choose among the endpoints of a service.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "muster/v1/discovery.pb.h"
#include "muster/v1/types.pb.h"

namespace CLI {
class App;
}

namespace muster::cli {

struct SelectorFlags {
  std::string name_space, version, min_health;
  std::vector<std::string> tags, metadata;
  bool include_draining = false;
};

// REQUIRES: flags outlives the command.
void AddSelectorFlags(CLI::App& command, SelectorFlags& flags);
// Errors: INVALID_ARGUMENT that quotes the flag's text.
absl::StatusOr<v1::Selector> MakeSelector(const SelectorFlags& flags);

}  // namespace muster::cli

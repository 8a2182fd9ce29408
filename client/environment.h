// What the process was given by whoever started it.
//
// Thread safety: reads the environment, which nothing may change at the same time (getenv(3)).
#pragma once

#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace muster::client {

// "" when it isn't set.
std::string EnvironmentVariable(const std::string& name);

// All whose name ends with `suffix`, by name.
absl::flat_hash_map<std::string, std::string> EnvironmentVariablesWith(const std::string& suffix);

// "…/muster/PROGRAM-HASH.snapshot" for this program and these servers, where caches of this user
// are; "" when there is no such place.
std::string DefaultSnapshotPath(const std::vector<std::string>& servers);

}  // namespace muster::client

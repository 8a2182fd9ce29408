// Where the environment says that a service is: USER_SERVICE_URL for "user-service", whatever the
// registry knows.
//
// Thread safety: a value.
#pragma once

#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "muster/client/target.h"

namespace muster::client {

class Overrides {
 public:
  Overrides() = default;
  // Of `variables` those that are named PREFIX…_URL. One that can't be read as a target is logged
  // and left out.
  Overrides(const absl::flat_hash_map<std::string, std::string>& variables,
            const std::string& prefix);

  // "USER_SERVICE_URL", without a prefix.
  static std::string VariableOf(std::string_view service);

  // Null: there is none.
  const Target* Find(std::string_view service) const;

 private:
  absl::flat_hash_map<std::string, Target> targets_;  // by what stands before _URL
};

}  // namespace muster::client

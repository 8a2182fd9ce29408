// What an application says of its instance, as the registry wants it.
//
// Thread safety: pure. Errors: INVALID_ARGUMENT that names the field, the value and what is
// allowed, for what can be known without the registry to be wrong; the rest it refuses itself.
#pragma once

#include "absl/status/statusor.h"
#include "muster/client/registration.h"
#include "muster/v1/registry.pb.h"

namespace muster::client {

// Without a life.
absl::StatusOr<v1::RegisterRequest> ToRegister(const Instance& instance,
                                               const RegisterOptions& options);

}  // namespace muster::client

// A check of an instance as a short text: KIND[:TARGET][,KEY=VALUE...].
//
//   http:/health                     http:https://10.0.0.7:8443/ready,skip-verify
//   tcp                              tcp:10.0.0.7:6379,interval=2s
//   grpc,service=shop.Cart           ttl:30s,id=main
//
// A comma of a value is written \, and no other backslash is special. A key alone stands for true.
// Pure. Errors: INVALID_ARGUMENT that names key and value, and says what is allowed.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "muster/client/check.h"
#include "muster/v1/types.pb.h"

namespace muster::cli {

absl::StatusOr<v1::Check> ParseCheck(const std::string& spec);
// One that the server runs itself; a ttl check is refused, and `instead` says what to use for it.
absl::StatusOr<v1::Check> ParseProbe(const std::string& spec, const std::string& instead);

// The kinds and keys, for the help of a command.
extern const char kCheckHelp[];

}  // namespace muster::cli

// YAML to config::v1::Config and back, by reflection: the message's fields are the keys.
//
// Pure. Errors: INVALID_ARGUMENT that names the source, the line, the key's path and what is
// allowed; for an unknown key the nearest known one.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "muster/config/v1/config.pb.h"

namespace muster::app {

// Sets the fields that `text` gives, keeps the others. After an error `config` holds some of them.
// `source` names the text in errors.
absl::Status ApplyYaml(std::string_view text, std::string_view source, config::v1::Config& config);

// What `text` would be as the value of one field; `path` like "tls.cert".
// REQUIRES: the path is of a field that is no section.
absl::Status ApplyText(std::string_view path, std::string_view text, config::v1::Config& config);

// Every field, in the order of the message; ApplyYaml reads it back.
std::string ToYaml(const config::v1::Config& config);

}  // namespace muster::app

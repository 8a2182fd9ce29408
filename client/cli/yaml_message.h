// A map of YAML as a message, by the message's descriptor: keys are the fields' names, as the
// .proto files or their JSON have them; durations are "10s", enums are names in any case, bytes are
// text.
//
// Pure. Errors: INVALID_ARGUMENT that begins with `source` and the line, and names the field, what
// it was given and what is allowed. A key that is given twice, two fields of one oneof, or nothing
// where a value belongs, are errors, too.
#pragma once

#include <google/protobuf/message.h>

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "client/cli/yaml_tree.h"

namespace muster::cli {

// Of what a document that is JSON has, bytes are base64.
enum class YamlBytes { kText, kBase64 };

// A message that takes keys of a map.
struct YamlTarget {
  google::protobuf::Message* message;
  // Those that it takes; none = all.
  std::vector<std::string_view> fields = {};
};

// Each key goes to the first target that has it.
absl::Status ReadYamlMessage(const YamlNode& map, std::string_view source, YamlBytes bytes,
                             absl::Span<const YamlTarget> targets);

}  // namespace muster::cli

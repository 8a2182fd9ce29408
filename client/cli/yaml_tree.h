// YAML as a tree: maps, lists and scalars with their lines, and nothing that grows beyond its text.
//
// Pure. Cost: at most 1 MiB of text, 16 levels, 100,000 nodes and 1,000 documents; no aliases.
// Errors: INVALID_ARGUMENT that begins with `source` and the line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace muster::cli {

constexpr size_t kMaxYamlBytes = 1 << 20;
constexpr size_t kMaxYamlDocuments = 1'000;

struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  int line = 0;
  std::string scalar;
  // Of a map: key, value, key, value…
  std::vector<YamlNode> items;
};

// Where something stands, and what is wrong with it.
absl::Status YamlError(std::string_view source, int line, std::string_view what);

// The documents; those that hold nothing are left out.
absl::StatusOr<std::vector<YamlNode>> ReadYaml(const std::string& text, std::string_view source);

}  // namespace muster::cli

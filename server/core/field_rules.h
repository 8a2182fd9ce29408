// What fields of a request may hold: the rules and their messages. A message names the field, what
// is wrong with it and what is allowed, on one line and safe to print.
//
// Thread safety: pure. Errors: INVALID_ARGUMENT with the field's path. Cost: nothing is built
// unless a rule is broken.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/errors.h"
#include "base/text.h"
#include "google/protobuf/duration.pb.h"

namespace muster::core {

// Bytes of what an instance has and a selector asks for.
inline constexpr size_t kMaxTag = 1024;
inline constexpr size_t kMaxMetadataKey = 128;
inline constexpr size_t kMaxMetadataValue = 512;
inline constexpr size_t kMaxVersion = 128;

// Names a field: {"instance", "checks", 2, "http.url"} is instance.checks[2].http.url, which
// messages call checks[2].http.url. Views must outlive it.
struct FieldRef {
  std::string_view parent;
  std::string_view name;
  std::optional<size_t> index = std::nullopt;
  std::string_view part = "";

  std::string Text() const;
  std::string Path() const;
};

// "<field> <problem>".
absl::Status FieldError(const FieldRef& field, std::string_view problem,
                        base::Reason reason = base::Reason::kInvalidField);

using base::Quoted;
// ` on node "n1"`, or ` without a node`: the end of a message that names an instance.
std::string OnNode(std::string_view node);

// Printable UTF-8 of `min` to `max` bytes.
absl::Status CheckText(const FieldRef& field, std::string_view text, size_t min, size_t max);
// An IP that can be connected to, or a host name.
absl::Status CheckAddress(const FieldRef& field, std::string_view address);
absl::Status CheckNumber(const FieldRef& field, uint64_t value, uint64_t max);
absl::Status CheckCount(const FieldRef& field, size_t count, size_t max);
absl::Status CheckDuration(const FieldRef& field, const google::protobuf::Duration& value,
                           absl::Duration min, absl::Duration max);

// What is wrong with the first entry of a map, by key, for which something is: a protobuf map has
// another order each time. `check(key, value)` gives the status of one.
template <typename Map, typename Check>
absl::Status CheckEach(const Map& map, const Check& check) {
  absl::Status problem;
  const std::string* of = nullptr;
  for (const auto& [key, value] : map) {
    absl::Status status = check(key, value);
    if (status.ok() || (of != nullptr && *of < key)) continue;
    problem = std::move(status);
    of = &key;
  }
  return problem;
}

// REQUIRES: within what CheckDuration allows.
absl::Duration FromProto(const google::protobuf::Duration& value);

}  // namespace muster::core

#include "server/core/selector.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/text.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "server/core/field_rules.h"
#include "server/core/service_view.h"

namespace muster::core {
namespace {

constexpr int kMaxSelectorItems = 16;
// In all: a subscription keeps its selector for as long as it lives.
constexpr size_t kMaxSelectorBytes = 4096;
constexpr std::string_view kParent = "selector";

absl::Status TooMany(std::string_view field, int count) {
  return base::WithField(
      base::MakeError(
          absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
          absl::StrCat(base::Av(field), " has ", count, " items; at most ", kMaxSelectorItems)),
      field);
}

// The limits of the fields that they are compared with.
absl::Status ValidateTexts(const v1::Selector& selector) {
  size_t i = 0;
  for (const std::string& tag : selector.all_tags()) {
    if (auto s = CheckText({kParent, "all_tags", i++}, tag, 1, kMaxTag); !s.ok()) return s;
  }
  auto metadata =
      CheckEach(selector.metadata(), [](const std::string& key, const std::string& value) {
        const FieldRef field{kParent, "metadata"};
        auto s = CheckText(field, key, 1, kMaxMetadataKey);
        return s.ok() ? CheckText(field, value, 0, kMaxMetadataValue) : s;
      });
  if (!metadata.ok()) return metadata;
  return CheckText({kParent, "version"}, selector.version(), 0, kMaxVersion);
}

absl::Status Validate(const v1::Selector& selector) {
  if (selector.all_tags_size() > kMaxSelectorItems) {
    return TooMany("selector.all_tags", selector.all_tags_size());
  }
  if (static_cast<int>(selector.metadata_size()) > kMaxSelectorItems) {
    return TooMany("selector.metadata", static_cast<int>(selector.metadata_size()));
  }
  if (!v1::Selector::MinHealth_IsValid(selector.min_health())) {
    return base::WithField(
        base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
                        absl::StrCat("selector.min_health is ", selector.min_health(),
                                     "; allowed: PASSING, WARNING, ANY")),
        "selector.min_health");
  }
  if (!selector.filter().empty()) {
    return base::WithField(
        base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kNotInThisRelease,
                        "selector.filter is not in this release; use all_tags, metadata, version"),
        "selector.filter");
  }
  return ValidateTexts(selector);
}

std::string Canonical(const v1::Selector& selector) {
  std::string out;
  google::protobuf::io::StringOutputStream stream(&out);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  selector.SerializeToCodedStream(&coded);
  coded.Trim();
  return out;
}

v1::Health WorstAllowed(v1::Selector::MinHealth min_health) {
  switch (min_health) {
    case v1::Selector::WARNING:
      return v1::WARNING;
    case v1::Selector::ANY:
      return v1::CRITICAL;
    default:
      return v1::PASSING;
  }
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Selector>> Selector::Compile(const v1::Selector& selector) {
  if (absl::Status status = Validate(selector); !status.ok()) return status;
  auto out = std::make_shared<Selector>();
  out->selector_ = selector;
  v1::Selector& s = out->selector_;
  // What a later release may ask for has no part in this predicate and is not kept.
  s.DiscardUnknownFields();
  std::sort(s.mutable_all_tags()->begin(), s.mutable_all_tags()->end());
  s.mutable_all_tags()->erase(
      std::unique(s.mutable_all_tags()->begin(), s.mutable_all_tags()->end()),
      s.mutable_all_tags()->end());
  if (s.min_health() == v1::Selector::MIN_HEALTH_UNSPECIFIED) {
    s.set_min_health(v1::Selector::PASSING);
  }
  out->worst_ = WorstAllowed(s.min_health());
  out->has_definition_part_ =
      s.all_tags_size() > 0 || s.metadata_size() > 0 || !s.version().empty();
  out->is_default_ =
      !out->has_definition_part_ && out->worst_ == v1::PASSING && !s.include_draining();
  out->canonical_ = Canonical(s);
  if (out->canonical_.size() > kMaxSelectorBytes) {
    return FieldError({"", kParent}, absl::StrCat("has ", out->canonical_.size(),
                                                  " bytes; at most ", kMaxSelectorBytes));
  }
  return std::shared_ptr<const Selector>(std::move(out));
}

const std::shared_ptr<const Selector>& Selector::Default() {
  static const auto& selector =
      *new std::shared_ptr<const Selector>(*Compile(v1::Selector::default_instance()));
  return selector;
}

std::shared_ptr<const Selector> Selector::WithAnyHealth() const {
  auto out = std::make_shared<Selector>(*this);
  out->selector_.set_min_health(v1::Selector::ANY);
  out->selector_.clear_include_draining();
  out->worst_ = v1::CRITICAL;
  out->is_default_ = false;
  out->canonical_ = Canonical(out->selector_);
  return out;
}

bool Selector::MatchesHealth(const EndpointEntry& entry) const {
  if (entry.health > worst_) return false;
  switch (entry.state) {
    case v1::DRAINING:
      return selector_.include_draining();
    case v1::MAINTENANCE:
      return selector_.include_draining() && worst_ == v1::CRITICAL;
    default:
      return true;
  }
}

bool Selector::MatchesDefinition(std::string_view bytes) const {
  v1::Endpoint endpoint;
  if (!endpoint.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return false;
  if (!selector_.version().empty() && endpoint.version() != selector_.version()) return false;
  for (const std::string& tag : selector_.all_tags()) {
    if (std::find(endpoint.tags().begin(), endpoint.tags().end(), tag) == endpoint.tags().end()) {
      return false;
    }
  }
  for (const auto& [key, value] : selector_.metadata()) {
    const auto it = endpoint.metadata().find(key);
    if (it == endpoint.metadata().end() || it->second != value) return false;
  }
  return true;
}

}  // namespace muster::core

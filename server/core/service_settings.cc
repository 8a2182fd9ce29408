#include "server/core/service_settings.h"

#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "server/core/field_rules.h"

namespace muster::core {
namespace {

constexpr std::string_view kParent = "settings";

}  // namespace

absl::Status CheckSettings(const v1::ServiceSettings& settings, absl::Duration min_ttl,
                           absl::Duration max_ttl) {
  // What is not a number is in no range.
  if (const double share = settings.brake_share(); !(share >= 0.0 && share <= 1.0)) {
    return FieldError({kParent, "brake_share"}, absl::StrCat("is ", share, "; allowed: 0 to 1"));
  }
  if (settings.has_default_ttl()) {
    const FieldRef field{kParent, "default_ttl"};
    absl::Status status = CheckDuration(field, settings.default_ttl(), min_ttl, max_ttl);
    if (!status.ok()) return status;
  }
  if (settings.has_slow_start()) {
    return FieldError({kParent, "slow_start"}, "is not in this release; it must be unset",
                      base::Reason::kNotInThisRelease);
  }
  return absl::OkStatus();
}

SettingsPtr KeptSettings(const v1::ServiceSettings& settings) {
  auto out = std::make_shared<v1::ServiceSettings>(settings);
  out->DiscardUnknownFields();
  return out->ByteSizeLong() == 0 ? nullptr : out;
}

bool SameSettings(const v1::ServiceSettings* a, const v1::ServiceSettings* b) {
  if (a == nullptr || b == nullptr) return a == b;
  return a->SerializeAsString() == b->SerializeAsString();
}

absl::Duration DefaultTtlOf(const v1::ServiceSettings* settings) {
  if (settings == nullptr || !settings->has_default_ttl()) return absl::ZeroDuration();
  return absl::Floor(FromProto(settings->default_ttl()), absl::Milliseconds(1));
}

}  // namespace muster::core

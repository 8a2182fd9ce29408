#include "muster/client/resolution.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "base/text.h"

namespace muster::client {

std::string_view ToText(Resolution::Source source) {
  constexpr std::array<std::string_view, Resolution::kSources> kTexts = {
      "registry", "last known", "snapshot", "DNS", "static", "environment"};
  return kTexts[static_cast<size_t>(source)];
}

std::string Resolution::WhyEmpty(const std::string& service) const {
  const std::string name = instead.empty() ? base::Quoted(service) : instead;
  switch (empty) {
    case Empty::kNot:
      return "";
    case Empty::kUnknownService:
      return absl::StrCat("no service ", name, " is known");
    case Empty::kNoInstances:
      return absl::StrCat(name, " has no instance now");
    case Empty::kAllUnhealthy:
      return absl::StrCat("no instance of ", name, " is healthy and active enough");
    case Empty::kFilteredOut:
      return absl::StrCat("no instance of ", name, " meets the conditions");
  }
  return "";
}

}  // namespace muster::client

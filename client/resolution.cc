#include "muster/client/resolution.h"

#include "absl/strings/str_cat.h"
#include "base/text.h"

namespace muster::client {

std::string Resolution::WhyEmpty(const std::string& service) const {
  const std::string name = base::Quoted(service);
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

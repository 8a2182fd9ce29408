#include "base/names.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/errors.h"
#include "base/text.h"

namespace muster::base {
namespace {

constexpr size_t kMaxName = 128;
constexpr size_t kMaxHost = 253;
constexpr size_t kMaxLabel = 63;
constexpr absl::string_view kNameCharacters = "A-Z a-z 0-9 . _ -";
constexpr absl::string_view kAddressForms = "an IP address or a host name";

bool IsLabelCharacter(char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_'; }
bool IsNameCharacter(char c) { return IsLabelCharacter(c) || c == '.'; }

absl::Status NameError(std::string_view what, std::string_view problem) {
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kNameInvalid,
                   absl::StrCat(Av(what), " ", Av(problem)));
}

}  // namespace

absl::Status CheckName(std::string_view what, std::string_view name) {
  if (name.empty()) {
    return NameError(what,
                     absl::StrCat("is empty; allowed: 1 to ", kMaxName, " of ", kNameCharacters));
  }
  if (name.size() > kMaxName) {
    return NameError(
        what, absl::StrCat(Quoted(name), " has ", name.size(), " bytes; at most ", kMaxName));
  }
  const auto bad = std::find_if_not(name.begin(), name.end(), IsNameCharacter);
  if (bad == name.end()) return absl::OkStatus();
  return NameError(what, absl::StrCat(Quoted(name), " contains ",
                                      CharacterAt(name, static_cast<size_t>(bad - name.begin())),
                                      "; allowed: ", kNameCharacters));
}

std::string HostNameProblem(std::string_view host) {
  if (host.size() > kMaxHost) {
    return absl::StrCat("has ", host.size(), " bytes; at most ", kMaxHost);
  }
  const auto bad = std::find_if_not(host.begin(), host.end(), IsNameCharacter);
  if (bad != host.end()) {
    return absl::StrCat(Quoted(host), " contains ",
                        CharacterAt(host, static_cast<size_t>(bad - host.begin())),
                        "; allowed: ", kAddressForms, ", without a port");
  }
  if (host.back() == '.') host.remove_suffix(1);
  absl::string_view last;
  for (absl::string_view label : absl::StrSplit(Av(host), '.')) {
    if (label.empty() || label.size() > kMaxLabel || label.front() == '-' || label.back() == '-') {
      return absl::StrCat("is ", Quoted(host), "; the parts of a host name have 1 to ", kMaxLabel,
                          " characters and no '-' at an end");
    }
    last = label;
  }
  // No top-level domain is a number: this was meant to be an IPv4 address.
  if (std::all_of(last.begin(), last.end(), absl::ascii_isdigit)) {
    return absl::StrCat("is ", Quoted(host), "; allowed: ", kAddressForms);
  }
  return "";
}

}  // namespace muster::base

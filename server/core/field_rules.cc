#include "server/core/field_rules.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/duration_text.h"
#include "base/net_address.h"
#include "base/text.h"

namespace muster::core {
namespace {

using base::MakeError;
using base::Reason;

constexpr size_t kMaxName = 128;
constexpr size_t kMaxHost = 253;
constexpr size_t kMaxLabel = 63;
constexpr size_t kMaxQuoted = 64;
constexpr absl::string_view kNameCharacters = "A-Z a-z 0-9 . _ -";
constexpr absl::string_view kAddressForms = "an IP address or a host name";

bool IsLabelCharacter(char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_'; }
bool IsNameCharacter(char c) { return IsLabelCharacter(c) || c == '.'; }
bool IsContinuation(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

// The whole character that begins at `at`, escaped.
std::string CharacterAt(std::string_view text, size_t at) {
  size_t end = at + 1;
  while (end < text.size() && end - at < 4 && IsContinuation(text[end])) ++end;
  return absl::StrCat("'", base::EscapeForTerminal(text.substr(at, end - at)), "' at ", at);
}

absl::Status NameError(std::string_view what, std::string_view problem) {
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kNameInvalid,
                   absl::StrCat(base::Av(what), " ", base::Av(problem)));
}

// What is wrong with a host name; "" when nothing is.
std::string HostProblem(std::string_view host) {
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
  for (absl::string_view label : absl::StrSplit(base::Av(host), '.')) {
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

// By the rules of google.protobuf.Duration.
bool IsValidDuration(const google::protobuf::Duration& value) {
  constexpr int64_t kMaxSeconds = 315'576'000'000;
  constexpr int32_t kMaxNanos = 999'999'999;
  const bool one_sign =
      value.seconds() == 0 || value.nanos() == 0 || (value.seconds() < 0) == (value.nanos() < 0);
  return one_sign && value.seconds() >= -kMaxSeconds && value.seconds() <= kMaxSeconds &&
         value.nanos() >= -kMaxNanos && value.nanos() <= kMaxNanos;
}

}  // namespace

std::string FieldRef::Text() const {
  std::string out(name);
  if (index) absl::StrAppend(&out, "[", *index, "]");
  if (!part.empty()) absl::StrAppend(&out, ".", base::Av(part));
  return out;
}

std::string FieldRef::Path() const {
  return parent.empty() ? Text() : absl::StrCat(base::Av(parent), ".", Text());
}

absl::Status FieldError(const FieldRef& field, std::string_view problem, Reason reason) {
  return base::WithField(MakeError(absl::StatusCode::kInvalidArgument, reason,
                                   absl::StrCat(field.Text(), " ", base::Av(problem))),
                         field.Path());
}

std::string Quoted(std::string_view value) {
  if (value.size() <= kMaxQuoted) return absl::StrCat("\"", base::EscapeForTerminal(value), "\"");
  size_t end = kMaxQuoted;
  while (end > 0 && IsContinuation(value[end])) --end;
  return absl::StrCat("\"", base::EscapeForTerminal(value.substr(0, end)), "…\"");
}

std::string OnNode(std::string_view node) {
  return node.empty() ? " without a node" : absl::StrCat(" on node ", Quoted(node));
}

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

absl::Status CheckText(const FieldRef& field, std::string_view text, size_t min, size_t max) {
  if (text.size() < min)
    return FieldError(field, absl::StrCat("is empty; allowed: ", min, " to ", max, " bytes"));
  if (text.size() > max) {
    return FieldError(field,
                      absl::StrCat(Quoted(text), " has ", text.size(), " bytes; at most ", max));
  }
  if (base::IsPrintableUtf8(text)) return absl::OkStatus();
  const auto control = std::find_if(text.begin(), text.end(), absl::ascii_iscntrl);
  if (control == text.end()) {
    return FieldError(field, absl::StrCat("is ", Quoted(text), "; allowed: printable UTF-8"));
  }
  return FieldError(field,
                    absl::StrCat(Quoted(text), " contains ",
                                 CharacterAt(text, static_cast<size_t>(control - text.begin())),
                                 "; allowed: printable UTF-8"));
}

absl::Status CheckAddress(const FieldRef& field, std::string_view address) {
  if (address.empty()) {
    return FieldError(field, absl::StrCat("is empty; allowed: ", kAddressForms));
  }
  const base::IpKind kind = base::KindOfIp(address);
  if (kind == base::IpKind::kUnspecified) {
    return FieldError(field, absl::StrCat("is ", base::Av(address),
                                          "; give the address that clients are to "
                                          "connect to"));
  }
  if (kind != base::IpKind::kNone) return absl::OkStatus();
  const std::string problem = HostProblem(address);
  return problem.empty() ? absl::OkStatus() : FieldError(field, problem);
}

absl::Status CheckNumber(const FieldRef& field, uint64_t value, uint64_t max) {
  if (value <= max) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", value, "; allowed: 0 to ", max));
}

absl::Status CheckCount(const FieldRef& field, size_t count, size_t max) {
  if (count <= max) return absl::OkStatus();
  return FieldError(field, absl::StrCat("has ", count, " items; at most ", max));
}

absl::Status CheckDuration(const FieldRef& field, const google::protobuf::Duration& value,
                           absl::Duration min, absl::Duration max) {
  if (IsValidDuration(value) && FromProto(value) >= min && FromProto(value) <= max) {
    return absl::OkStatus();
  }
  const std::string given = IsValidDuration(value) ? absl::FormatDuration(FromProto(value))
                                                   : absl::StrCat("{seconds: ", value.seconds(),
                                                                  ", nanos: ", value.nanos(), "}");
  return FieldError(field, absl::StrCat("is ", given, "; allowed: ", base::FormatDuration(min),
                                        " to ", base::FormatDuration(max)));
}

absl::Duration FromProto(const google::protobuf::Duration& value) {
  return absl::Seconds(value.seconds()) + absl::Nanoseconds(value.nanos());
}

}  // namespace muster::core

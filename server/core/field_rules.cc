#include "server/core/field_rules.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "base/names.h"
#include "base/net_address.h"
#include "base/text.h"

namespace muster::core {
namespace {

using base::MakeError;
using base::Reason;

constexpr absl::string_view kAddressForms = "an IP address or a host name";

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

std::string OnNode(std::string_view node) {
  return node.empty() ? " without a node" : absl::StrCat(" on node ", Quoted(node));
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
  return FieldError(
      field, absl::StrCat(Quoted(text), " contains ",
                          base::CharacterAt(text, static_cast<size_t>(control - text.begin())),
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
  const std::string problem = base::HostNameProblem(address);
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

#include "server/security/authorizer.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/text.h"

namespace muster::security {
namespace {

using base::Reason;

absl::Status Unauthenticated(Reason reason, std::string_view message) {
  return base::MakeError(absl::StatusCode::kUnauthenticated, reason, message);
}

// Nothing when the header is of another scheme or has no token.
std::optional<std::string_view> BearerToken(std::string_view header) {
  constexpr size_t kSchemeSize = 6;
  const absl::string_view text = absl::StripAsciiWhitespace(base::Av(header));
  const bool bearer = absl::EqualsIgnoreCase(text.substr(0, kSchemeSize), "bearer") &&
                      text.size() > kSchemeSize && absl::ascii_isspace(text[kSchemeSize]);
  if (!bearer) return std::nullopt;
  return base::Sv(absl::StripLeadingAsciiWhitespace(text.substr(kSchemeSize)));
}

}  // namespace

absl::StatusOr<Identity> Authorizer::Check(std::optional<std::string_view> authorization_header,
                                           Right right) const {
  if (tokens_ == nullptr) {
    return Identity{client_certificates_required_ ? "certificate" : "anonymous", true, true};
  }
  if (!authorization_header) {
    return Unauthenticated(Reason::kTokenMissing,
                           "no token; send the header authorization: Bearer TOKEN");
  }
  const auto token = BearerToken(*authorization_header);
  if (!token) {
    return Unauthenticated(Reason::kTokenMissing,
                           "no token in the authorization header; allowed: Bearer TOKEN");
  }
  const std::shared_ptr<const TokenTable> table = tokens_->current();
  const Identity* identity = table->Find(*token);
  if (identity == nullptr) return Unauthenticated(Reason::kTokenUnknown, "token is unknown");
  if (!identity->Has(right)) {
    return base::MakeError(
        absl::StatusCode::kPermissionDenied, Reason::kRightMissing,
        absl::StrCat("right ", base::Av(RightName(right)), " is missing from this token"));
  }
  return *identity;
}

}  // namespace muster::security

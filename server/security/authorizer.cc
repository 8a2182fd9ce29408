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

absl::Status CheckRight(const Identity* identity, Right right) {
  if (identity == nullptr) return Unauthenticated(Reason::kTokenUnknown, "token is unknown");
  if (identity->Has(right)) return absl::OkStatus();
  return base::MakeError(
      absl::StatusCode::kPermissionDenied, Reason::kRightMissing,
      absl::StrCat("right ", base::Av(RightName(right)), " is missing from this token"));
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
  if (absl::Status status = CheckRight(identity, right); !status.ok()) return status;
  return *identity;
}

absl::StatusOr<Admission> Authorizer::Admit(std::optional<std::string_view> authorization_header,
                                            Right right) const {
  Admission out;
  out.right = right;
  if (tokens_ == nullptr) return out;
  // Before the tokens: whatever changes from here on is looked at again.
  out.generation = tokens_->generation();
  if (auto who = Check(authorization_header, right); !who.ok()) return who.status();
  out.token = DigestToken(*BearerToken(*authorization_header));
  return out;
}

absl::Status Authorizer::Recheck(Admission& admission) const {
  if (tokens_ == nullptr || !admission.token) return absl::OkStatus();
  const uint64_t generation = tokens_->generation();
  if (generation == admission.generation) return absl::OkStatus();
  const std::shared_ptr<const TokenTable> table = tokens_->current();
  absl::Status status = CheckRight(table->FindDigest(*admission.token), admission.right);
  if (status.ok()) admission.generation = generation;
  return status;
}

}  // namespace muster::security

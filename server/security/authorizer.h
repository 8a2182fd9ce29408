// Decides who a caller is and whether the caller may. Every face asks here, before anything else.
//
//   auto who = authorizer.Check(header, Right::kWrite);
//   if (!who.ok()) return who.status();
//
// Without a token store everybody has both rights; client certificates, where required, were
// already asked for by TLS.
// Thread safety: Check from any thread. Ownership: shares the store.
// Errors: UNAUTHENTICATED with TOKEN_MISSING or TOKEN_UNKNOWN, PERMISSION_DENIED with
// RIGHT_MISSING. None says anything about what was asked for. Cost: see token_file.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/security/identity.h"
#include "server/security/token_store.h"

namespace muster::security {

// What a stream was admitted with, to be asked again while it lives. A small value.
struct Admission {
  std::optional<TokenDigest> token;  // nothing: there are no tokens
  Right right = Right::kRead;
  uint64_t generation = 0;  // of the tokens that it was last checked with
};

class Authorizer {
 public:
  // `tokens` may be null.
  Authorizer(std::shared_ptr<const TokenStore> tokens, bool client_certificates_required)
      : tokens_(std::move(tokens)), client_certificates_required_(client_certificates_required) {}

  // `authorization_header`: the header's value, nothing when it was not sent.
  absl::StatusOr<Identity> Check(std::optional<std::string_view> authorization_header,
                                 Right right) const;

  // For a call that lasts: the same, and what Recheck needs.
  absl::StatusOr<Admission> Admit(std::optional<std::string_view> authorization_header,
                                  Right right) const;
  // May it go on? The errors of Check. Costs an atomic load unless the tokens have changed.
  absl::Status Recheck(Admission& admission) const;

 private:
  const std::shared_ptr<const TokenStore> tokens_;
  const bool client_certificates_required_;
};

}  // namespace muster::security

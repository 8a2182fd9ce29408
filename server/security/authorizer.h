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

#include <memory>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/security/identity.h"
#include "server/security/token_store.h"

namespace muster::security {

class Authorizer {
 public:
  // `tokens` may be null.
  Authorizer(std::shared_ptr<const TokenStore> tokens, bool client_certificates_required)
      : tokens_(std::move(tokens)), client_certificates_required_(client_certificates_required) {}

  // `authorization_header`: the header's value, nothing when it was not sent.
  absl::StatusOr<Identity> Check(std::optional<std::string_view> authorization_header,
                                 Right right) const;

 private:
  const std::shared_ptr<const TokenStore> tokens_;
  const bool client_certificates_required_;
};

}  // namespace muster::security

#include "server/security/listener_policy.h"

#include "absl/strings/str_cat.h"
#include "base/errors.h"

namespace muster::security {

absl::Status CheckListener(const base::HostPort& address, bool tls, bool authenticated,
                           bool insecure) {
  if (insecure || (tls && authenticated) || base::IsLoopback(address.host)) {
    return absl::OkStatus();
  }
  const absl::string_view lacks = tls ? "authentication (--tokens or --client-ca)"
                                  : authenticated
                                      ? "TLS (--tls-cert and --tls-key)"
                                      : "TLS (--tls-cert and --tls-key) and authentication "
                                        "(--tokens or --client-ca)";
  return base::MakeError(
      absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
      absl::StrCat(base::FormatHostPort(address), " is beyond loopback and lacks ", lacks,
                   "; --insecure opens it all the same"));
}

}  // namespace muster::security

// Which addresses may be listened on. Pure.
#pragma once

#include "absl/status/status.h"
#include "base/net_address.h"

namespace muster::security {

// Beyond loopback a listener needs TLS and authentication (tokens or a client authority), or the
// operator's word that it is meant to be open. A host name other than localhost counts as beyond.
// Errors: INVALID_ARGUMENT that names the flags that help.
absl::Status CheckListener(const base::HostPort& address, bool tls, bool authenticated,
                           bool insecure);

}  // namespace muster::security

// What every handler asks before anything else: who calls, from where, and whether the call may.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/security/authorizer.h"

namespace grpc {
class ServerContextBase;
}

namespace muster::rpc {

// By the `authorization` metadata. Errors: as security::Authorizer::Check.
absl::Status CheckAccess(const grpc::ServerContextBase& context,
                         const security::Authorizer& authorizer, security::Right right);

// A stream's right to go on, though tokens are taken out or lose a right while it is open.
// Thread safety: none. Ownership: the authorizer outlives it.
class StreamAccess {
 public:
  // Errors: as CheckAccess.
  static absl::StatusOr<StreamAccess> Admit(const grpc::ServerContextBase& context,
                                            const security::Authorizer& authorizer,
                                            security::Right right);
  // The same errors, once the token no longer suffices. Cheap unless tokens changed.
  absl::Status Recheck() { return authorizer_->Recheck(admission_); }

 private:
  StreamAccess(const security::Authorizer& authorizer, const security::Admission& admission)
      : authorizer_(&authorizer), admission_(admission) {}

  const security::Authorizer* authorizer_;
  security::Admission admission_;
};

// The IP in gRPC's name of a peer ("ipv4:10.0.0.1:5000", "ipv6:%5B::1%5D:5000"); "" when it has
// none, as over a Unix socket.
std::string PeerIp(absl::string_view peer);

}  // namespace muster::rpc

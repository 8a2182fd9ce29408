#include "server/rpc/access.h"

#include <grpcpp/server_context.h>

#include <optional>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "base/net_address.h"

namespace muster::rpc {
namespace {

std::optional<std::string_view> HeaderOf(const grpc::ServerContextBase& context) {
  const auto& metadata = context.client_metadata();
  const auto it = metadata.find("authorization");
  if (it == metadata.end()) return std::nullopt;
  return std::string_view(it->second.data(), it->second.size());
}

}  // namespace

absl::Status CheckAccess(const grpc::ServerContextBase& context,
                         const security::Authorizer& authorizer, security::Right right) {
  return authorizer.Check(HeaderOf(context), right).status();
}

absl::StatusOr<StreamAccess> StreamAccess::Admit(const grpc::ServerContextBase& context,
                                                 const security::Authorizer& authorizer,
                                                 security::Right right) {
  const auto admission = authorizer.Admit(HeaderOf(context), right);
  if (!admission.ok()) return admission.status();
  return StreamAccess(authorizer, *admission);
}

std::string PeerIp(absl::string_view peer) {
  if (!absl::ConsumePrefix(&peer, "ipv4:") && !absl::ConsumePrefix(&peer, "ipv6:")) return "";
  const std::string text = absl::StrReplaceAll(peer, {{"%5B", "["}, {"%5D", "]"}, {"%25", "%"}});
  const auto address = base::ParseHostPort(text);
  return address.ok() && base::IsIpLiteral(address->host) ? address->host : "";
}

}  // namespace muster::rpc

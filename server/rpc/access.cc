#include "server/rpc/access.h"

#include <grpcpp/server_context.h>

#include <optional>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "base/net_address.h"

namespace muster::rpc {

absl::Status CheckAccess(const grpc::ServerContextBase& context,
                         const security::Authorizer& authorizer, security::Right right) {
  std::optional<std::string_view> header;
  const auto& metadata = context.client_metadata();
  if (const auto it = metadata.find("authorization"); it != metadata.end()) {
    header = std::string_view(it->second.data(), it->second.size());
  }
  return authorizer.Check(header, right).status();
}

std::string PeerIp(absl::string_view peer) {
  if (!absl::ConsumePrefix(&peer, "ipv4:") && !absl::ConsumePrefix(&peer, "ipv6:")) return "";
  const std::string text = absl::StrReplaceAll(peer, {{"%5B", "["}, {"%5D", "]"}, {"%25", "%"}});
  const auto address = base::ParseHostPort(text);
  return address.ok() && base::IsIpLiteral(address->host) ? address->host : "";
}

}  // namespace muster::rpc

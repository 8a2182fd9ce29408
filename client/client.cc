#include "muster/client/client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/net_address.h"
#include "base/rng.h"
#include "base/text.h"
#include "client/grpc_watch.h"
#include "client/loop.h"
#include "client/registry_connection.h"

namespace muster::client {
namespace {

absl::Status Check(const Options& options) {
  if (options.servers.empty()) return absl::InvalidArgumentError("servers: there is none");
  for (const std::string& server : options.servers) {
    const auto address = base::ParseHostPort(server);
    if (!address.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("servers: ", address.status().message()));
    }
  }
  if (options.cert.empty() != options.key.empty()) {
    return absl::InvalidArgumentError("cert and key go together");
  }
  if (!base::IsPrintableUtf8(options.token)) {
    return absl::InvalidArgumentError("token: holds control characters");
  }
  if (options.first_answer < absl::ZeroDuration()) {
    return absl::InvalidArgumentError("first_answer: is below 0");
  }
  if (options.keep_last < absl::ZeroDuration()) {
    return absl::InvalidArgumentError("keep_last: is below 0");
  }
  if (options.idle < absl::Seconds(1)) {
    return absl::InvalidArgumentError("idle: is below 1s");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Client> Client::Create(Options options) {
  if (absl::Status status = Check(options); !status.ok()) return status;
  auto transport =
      std::make_unique<GrpcWatchTransport>(options.servers, Access{.token = options.token,
                                                                   .tls = options.tls,
                                                                   .ca = options.ca,
                                                                   .cert = options.cert,
                                                                   .key = options.key});
  return Client(RegistryConnection::Create(
      std::move(options), {.clock = base::RealClock(),
                           .rng = std::make_unique<base::SystemRng>(),
                           .scheduler = std::make_unique<Loop>("muster-client", base::RealClock()),
                           .transport = std::move(transport)}));
}

absl::StatusOr<Resolution> Client::Resolve(std::string_view name) const {
  const auto target = ParseTarget(name);
  if (!target.ok()) return target.status();
  return connection_->Resolve(*target);
}

absl::StatusOr<Client::Subscription> Client::Watch(std::string_view name,
                                                   Connection::Listener listener) const {
  const auto target = ParseTarget(name);
  if (!target.ok()) return target.status();
  return connection_->Watch(*target, std::move(listener));
}

}  // namespace muster::client

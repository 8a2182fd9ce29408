// What an application writes to say which service it means.
//
//   const auto target = ParseTarget("http://user-service:8002/users/7?full=1");
//   target->query.service;                // user-service
//   target->Url("10.0.0.7", 31002);       // http://10.0.0.7:31002/users/7?full=1
//
// The forms:
//   api, api:8002                            a service of the registry, and the port of its DNS
//   name muster:///api?tag=v2&zone=eu-1           the same, with conditions (Query below)
//   api.service.consul, v2.api.service.dc1.consul, _api._tcp.service.consul
//                                            Consul's DNS names: tag, service, datacenter
//   http://user-service:8002/path            host and port are replaced, all the rest stays; so of
//                                            https, ws, wss, grpc, grpcs, tcp, redis, rediss, amqp,
//                                            amqps, postgres, postgresql, mysql, mongodb, nats,
//                                            mqtt, mqtts
//   dns:///host:port                         DNS, never the registry
//   static:///10.0.0.1:80,10.0.0.2:80        these and no others
// An IP address instead of a name is static; localhost is looked up in DNS.
//
// Thread safety: values and pure functions. Errors: INVALID_ARGUMENT that quotes the name and says
// what is allowed; nothing that it quotes can break a log line.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace muster::client {

// Which endpoints of which service. Each that is given has to match.
struct Query {
  enum class MinHealth : uint8_t { kPassing, kWarning, kAny };

  std::string ns = "default";
  std::string service;                          // as written
  std::vector<std::string> tags;                // tag=, any number of times
  std::map<std::string, std::string> metadata;  // meta.KEY=VALUE
  std::string version;                          // version=
  std::string region;                           // region=
  std::string zone;                             // zone=
  std::string port_name;                        // port=: a named port instead of the main one
  MinHealth min_health = MinHealth::kPassing;   // health=passing, warning, any
  bool include_draining = false;                // draining=true, false
  std::string datacenter;                       // of a Consul name; the others have none

  friend bool operator==(const Query&, const Query&) = default;
};

struct Address {
  std::string host;   // IPv6 without brackets
  uint16_t port = 0;  // 0 = none is known

  friend bool operator==(const Address&, const Address&) = default;
};

struct Target {
  enum class Kind : uint8_t { kService, kDns, kStatic };

  Kind kind = Kind::kService;
  Query query;                     // kService
  Address dns;                     // kService, kDns: where DNS looks. Port: given, or the scheme's
  std::vector<Address> addresses;  // kStatic, at least one
  // Of a URL: what stands before the host, and after the port. Else empty.
  std::string before;
  std::string after;

  // The URL with this host (IPv6 without brackets) and port (0 = none) in place of its own; of what
  // is no URL, host:port.
  std::string Url(std::string_view host, uint16_t port) const;

  friend bool operator==(const Target&, const Target&) = default;
};

// At most 2,048 bytes.
absl::StatusOr<Target> ParseTarget(std::string_view text);

}  // namespace muster::client

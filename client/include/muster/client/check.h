// A check of an instance that the registry runs itself, by probing it over the network.
//
//   client->Register({.service = "api", .address = {"10.0.0.7", 8001},
//                     .checks = {{.id = "ready", .kind = HttpCheck{.url = "/ready"}}}});
//
// A check that the process feeds is a TtlCheck (registration.h).
//
// Thread safety: values. Limits and what a result means: Check in proto/muster/v1/types.proto.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "muster/client/endpoint.h"

namespace muster::client {

// The status of the answer to a request tells the health.
struct HttpCheck {
  // Inclusive, within 100 to 599.
  struct StatusRange {
    uint32_t first = 200;
    uint32_t last = 299;
    friend bool operator==(const StatusRange&, const StatusRange&) = default;
  };
  std::string url = {};     // in full, or a path on the instance's address and port
  std::string method = {};  // "" = GET
  std::map<std::string, std::string> headers = {};
  std::string body = {};
  std::vector<StatusRange> expected_status = {};  // that are passing; none = 200 to 299
  std::string body_contains = {};    // within the first 64 KiB; "" = it isn't looked at
  bool tls = false;                  // of a path; a full URL says so itself
  bool tls_skip_verify = false;      // takes any certificate
  std::string tls_server_name = {};  // "" = the URL's host
  friend bool operator==(const HttpCheck&, const HttpCheck&) = default;
};

// A connection that is accepted is passing.
struct TcpCheck {
  std::string target = {};           // host:port; "" = the instance's
  bool tls = false;                  // with a handshake
  bool tls_skip_verify = false;      // takes any certificate
  std::string tls_server_name = {};  // "" = the target's host
  friend bool operator==(const TcpCheck&, const TcpCheck&) = default;
};

// grpc.health.v1.Health.
struct GrpcCheck {
  std::string target = {};   // host:port; "" = the instance's
  std::string service = {};  // to ask about; "" = the server
  bool tls = false;
  bool tls_skip_verify = false;      // takes any certificate
  std::string tls_server_name = {};  // "" = the target's host
  friend bool operator==(const GrpcCheck&, const GrpcCheck&) = default;
};

// Of durations and counts, 0 stands for the registry's own value.
struct Check {
  std::string id = {};    // unique in the instance, 1 to 64 bytes; "" = made by its position
  std::string name = {};  // for people
  std::variant<HttpCheck, TcpCheck, GrpcCheck> kind = TcpCheck{};
  absl::Duration interval = absl::ZeroDuration();  // from start to start: 1 s to 24 h; 0 = 10 s
  absl::Duration timeout = absl::ZeroDuration();   // at most an interval; 0 = it, or 5 s
  absl::Duration failing_interval = absl::ZeroDuration();  // while it fails; 0 = interval
  // Results in a row, at most 100.
  uint32_t success_before_passing = 0;    // 0 = 1
  uint32_t failures_before_warning = 0;   // 0 = it is never warning for that
  uint32_t failures_before_critical = 0;  // 0 = 1
  // Until the first result.
  Endpoint::Health initial_status = Endpoint::Health::kCritical;
  // Takes the instance out of the registry when its target couldn't be reached for so long without
  // a break: 1 s to 365 d. 0 = never.
  absl::Duration deregister_after_critical = absl::ZeroDuration();
  friend bool operator==(const Check&, const Check&) = default;
};

}  // namespace muster::client

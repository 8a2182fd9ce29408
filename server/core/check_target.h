// What a check is aimed at: the URL of an http check, the host:port of a tcp or grpc check.
//
// Thread safety: pure. Errors: INVALID_ARGUMENT; the message says what is wrong and what is
// allowed, without the field's name.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/net_address.h"

namespace muster::core {

// A URL (RFC 3986) of scheme http or https, or its path alone.
struct HttpTarget {
  // A path: the instance's own address and port, and the check's own word on TLS.
  bool own = false;
  bool tls = false;
  base::HostPort at;  // of a full URL
  std::string path;   // with the query; begins with '/'
};

// "/health?full=1", "http://10.0.0.7:8080/health", "https://[fd00::7]/".
absl::StatusOr<HttpTarget> ParseHttpTarget(std::string_view url);

// What a method, and the name of a header, may be (RFC 9110, 5.6.2).
bool IsHttpToken(std::string_view text);

// "10.0.0.7:6379", "db.example:5432", "[fd00::7]:443"; port 0 is refused.
absl::StatusOr<base::HostPort> ParseCheckTarget(std::string_view target);

}  // namespace muster::core

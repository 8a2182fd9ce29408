// The seam between the client and DNS.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/followed_service.h"
#include "muster/client/target.h"

namespace muster::client {

struct DnsAnswer {
  EndpointList endpoints;  // at least one
  absl::Duration ttl;      // the smallest of the records that it rests on
};

class DnsResolver {
 public:
  // Errors: NOT_FOUND: there is no such name, or it has no address; UNAVAILABLE: nobody says.
  using Done = std::function<void(absl::StatusOr<DnsAnswer> answer)>;

  // No callback begins afterwards.
  virtual ~DnsResolver() = default;
  // `host.port`: of what has no port in DNS. The callback runs on any thread, and not within the
  // call.
  virtual void Lookup(const Address& host, Done done) = 0;
};

}  // namespace muster::client

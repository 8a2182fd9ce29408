// DNS by c-ares, on a thread of its own, as the machine is set up: /etc/resolv.conf with its search
// domains, /etc/hosts, /etc/nsswitch.conf, which are read again for each lookup.
//
// A name's SRV records (RFC 2782) are asked for, and its addresses (A, else AAAA) at the same time.
// Where there are SRV records, their targets are the endpoints: of the lowest priority, with their
// ports and weights. A lookup takes at most `within`, and what has come by then counts.
//
// Thread safety: all members. The destructor waits for the thread, which soon ends.
#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "base/clock.h"
#include "client/fallback/dns.h"

namespace muster::client {

class CaresDns : public DnsResolver {
 public:
  struct Options {
    // "10.0.0.2:53,10.0.0.3" in place of the machine's; "" = those.
    std::string servers;
    absl::Duration within = absl::Seconds(3);
    // Of one try; a server is tried twice.
    absl::Duration timeout = absl::Seconds(1);
    // SRV records are waited for so long once there are addresses: some servers ignore questions
    // that they don't know.
    absl::Duration srv_patience = absl::Milliseconds(300);
  };

  // REQUIRES: the clock outlives it.
  CaresDns(Options options, const base::Clock& clock);
  ~CaresDns() override;

  void Lookup(const Address& host, Done done) override;

 private:
  class Loop;
  const std::unique_ptr<Loop> loop_;
};

// Whether `servers` can be used as Options::servers. Errors: INVALID_ARGUMENT.
absl::Status CheckDnsServers(const std::string& servers);

}  // namespace muster::client

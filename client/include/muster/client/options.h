// How a Client finds the registry, and how patient it is.
//
// What is set here counts before the environment (MUSTER_ADDR and so on below), and that before the
// default that stands beside it. Options of a caller, a channel or a registration are their own.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "muster/client/target.h"

namespace muster::client {

struct Options {
  // Servers of the registry, "host:port". A client uses one at a time, and the next one when that
  // is lost. None: those of MUSTER_ADDR, separated by commas, else 127.0.0.1:8502.
  std::vector<std::string> servers;

  // "" = MUSTER_TOKEN, else none. A token without TLS can be read by whoever is on the way.
  std::string token;
  // TLS with the certificates that the system trusts; on also when one of the others is set. PEM,
  // not file names. When none is set: the files that MUSTER_CA, MUSTER_CERT and MUSTER_KEY name.
  bool tls = false;
  std::string ca;
  std::string cert;  // goes together with key
  std::string key;
  // Whether the environment is asked for the options above.
  bool environment = true;

  // The first question for a service waits so long for the registry; later ones never wait.
  absl::Duration first_answer = absl::Seconds(3);
  // An answer without endpoints doesn't replace one with some before it has stood for so long: a
  // registry that lost its store is full again a moment later.
  absl::Duration keep_last = absl::Seconds(30);

  // What the registry says is kept in a file as well, for a process that starts when no registry
  // answers. Nothing that is older than `snapshot_max_age` is read from it.
  bool snapshot = true;
  // "" = $XDG_CACHE_HOME/muster/PROGRAM-HASH.snapshot (else ~/.cache/muster/…), of the program's
  // name and the servers; without a home there is none. Clients may share a file.
  std::string snapshot_path;
  absl::Duration snapshot_max_age = absl::Hours(24);

  // Where the registry can't be asked and nothing is known from before, or where it doesn't know
  // the service, DNS is asked for the name as it is written.
  bool dns = true;
  // "10.0.0.2:53,10.0.0.3" in place of the machine's own DNS servers.
  std::string dns_servers;
  // Also where the registry knows no healthy instance.
  bool dns_when_unhealthy = false;
  // By service: where it is when DNS doesn't know either.
  std::map<std::string, std::vector<Address>> fallback_addresses;
  // USER_SERVICE_URL in the environment beats all of these for "user-service". Any form of
  // target.h: of a URL host and port count, another service's name is asked for in place of this
  // one. It is read when the client is made.
  bool overrides = true;
  std::string override_prefix;  // "APP_": APP_USER_SERVICE_URL

  // A service that nobody asks for any more is no longer followed after this.
  absl::Duration idle = absl::Minutes(10);
};

}  // namespace muster::client

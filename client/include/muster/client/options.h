// How a Client finds the registry, and how patient it is.
//
// What is not set here has the default that stands beside it.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace muster::client {

struct Options {
  // Servers of the registry, "host:port". A client uses one at a time, and the next one when that
  // is lost.
  std::vector<std::string> servers = {"127.0.0.1:8502"};

  // "" = none. A token without TLS can be read by whoever is on the way.
  std::string token;
  // TLS with the certificates that the system trusts; on also when one of the others is set. PEM,
  // not file names.
  bool tls = false;
  std::string ca;
  std::string cert;  // goes together with key
  std::string key;

  // The first question for a service waits so long for the registry; later ones never wait.
  absl::Duration first_answer = absl::Seconds(3);
  // An answer without endpoints doesn't replace one with some before it has stood for so long: a
  // registry that lost its store is full again a moment later.
  absl::Duration keep_last = absl::Seconds(30);
  // A service that nobody asks for any more is no longer followed after this.
  absl::Duration idle = absl::Minutes(10);
};

}  // namespace muster::client

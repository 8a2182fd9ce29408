// A program that registers itself by the library and then waits to be ended.
//
// usage: registrant_process ADDRESS SERVICE ID (sigterm|leave)
//   sigterm: deregisters on SIGTERM; leave: leaves that to its lease.
#include <unistd.h>

#include <iostream>
#include <string>
#include <vector>

#include "muster/client/client.h"

namespace {

using muster::client::Client;
using muster::client::RegistrationStatus;

int Main(const std::vector<std::string>& arguments) {
  const auto client = Client::Create({.servers = {arguments[0]}});
  if (!client.ok()) return 2;
  const auto registration =
      client->Register({.service = arguments[1], .address = {"127.0.0.1", 80}, .id = arguments[2]},
                       {.on_change =
                            [](const RegistrationStatus& status) {
                              if (status.state == RegistrationStatus::State::kHeld) {
                                std::cout << "held " << status.incarnation << std::endl;
                              }
                              if (status.state == RegistrationStatus::State::kSuperseded) {
                                std::cout << "superseded: " << status.why.message() << std::endl;
                              }
                            },
                        .deregister_on_sigterm = arguments[3] == "sigterm"});
  if (!registration.ok()) return 2;
  for (;;) pause();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  return Main({argv + 1, argv + argc});
}

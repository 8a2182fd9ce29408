// A service: registers itself by the library, and tells each connection its name.
//
// usage: echo_process REGISTRY SERVICE ID [ZONE]
//
// Prints "listening PORT", and "held" when it is registered.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <iostream>
#include <string>

#include "muster/client/client.h"

namespace {

using muster::client::Client;
using muster::client::RegistrationStatus;

int Main(const std::string& registry, const std::string& service, const std::string& id,
         const std::string& zone) {
  const int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  if (bind(listening, reinterpret_cast<sockaddr*>(&at), size) != 0 ||
      listen(listening, 1'000) != 0 ||
      getsockname(listening, reinterpret_cast<sockaddr*>(&at), &size) != 0) {
    return 1;
  }
  const uint16_t port = ntohs(at.sin_port);
  std::cout << "listening " << port << std::endl;
  const auto client = Client::Create({.servers = {registry}, .snapshot = false});
  if (!client.ok()) return 2;
  const auto registration =
      client->Register({.service = service, .address = {"127.0.0.1", port}, .id = id, .zone = zone},
                       {.ttl = absl::Seconds(3), .on_change = [](const RegistrationStatus& status) {
                          if (status.state == RegistrationStatus::State::kHeld)
                            std::cout << "held" << std::endl;
                        }});
  if (!registration.ok()) return 2;
  const std::string answer = id + "\n";
  for (;;) {
    const int one = accept4(listening, nullptr, nullptr, SOCK_CLOEXEC);
    if (one < 0) continue;
    send(one, answer.data(), answer.size(), MSG_NOSIGNAL);
    close(one);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) return 2;
  return Main(argv[1], argv[2], argv[3], argc == 5 ? argv[4] : "");
}

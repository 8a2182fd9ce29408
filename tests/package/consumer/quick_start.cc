#include <iostream>

#include "muster/client/client.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;  // quick_start 127.0.0.1:8502 api
  const auto client = muster::client::Client::Create({.servers = {argv[1]}});
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 2;
  }
  const auto answer = client->Resolve(argv[2]);
  if (!answer.ok()) {
    std::cerr << answer.status() << "\n";
    return 1;
  }
  for (const auto& endpoint : *answer->endpoints) {
    std::cout << endpoint->address.host << ":" << endpoint->address.port << "\n";
  }
  if (answer->endpoints->empty()) std::cerr << answer->WhyEmpty(argv[2]) << "\n";
}

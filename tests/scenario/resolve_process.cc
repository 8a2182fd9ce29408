// A program that asks where a service is, by the library, for a while.
//
// usage: resolve_process REGISTRY NAME SECONDS
//
// On stdout first "resolved SOURCE HOST:PORT/WEIGHT …" or "error: …" with the milliseconds that it
// took, then a line for each change: "changed SOURCE HOST:PORT/WEIGHT …".
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>

#include "muster/client/client.h"

namespace {

using muster::client::Client;
using muster::client::Resolution;

constexpr const char* kSources[] = {"registry", "last-known", "snapshot",
                                    "dns",      "static",     "override"};

std::string TextOf(const Resolution& answer) {
  std::string text = kSources[static_cast<int>(answer.source)];
  for (const auto& endpoint : *answer.endpoints) {
    text += " " + endpoint->address.host + ":" + std::to_string(endpoint->address.port) + "/" +
            std::to_string(endpoint->passing_weight);
  }
  return text;
}

int Main(const std::string& registry, const std::string& name, unsigned seconds) {
  const auto client = Client::Create({.servers = {registry}, .snapshot = false});
  if (!client.ok()) return 2;
  const auto begin = std::chrono::steady_clock::now();
  const auto answer = client->Resolve(name);
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - begin);
  if (answer.ok()) {
    std::cout << "resolved " << TextOf(*answer);
  } else {
    std::cout << "error: " << answer.status().message();
  }
  std::cout << " in " << took.count() << " ms" << std::endl;
  const auto watching = client->Watch(name, [](const Resolution& changed) {
    std::cout << "changed " << TextOf(changed) << std::endl;
  });
  if (!watching.ok()) return 2;
  sleep(seconds);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  return Main(argv[1], argv[2], static_cast<unsigned>(std::atoi(argv[3])));
}

#include "program.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <pthread.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <utility>

namespace shop {

using muster::client::BreakerChange;
using muster::client::CallerOptions;
using muster::client::Client;
using muster::client::Options;
using muster::client::ServiceChannel;

absl::StatusOr<Client> Connect() {
  Options options;
  if (const char* dns = std::getenv("SHOP_DNS")) options.dns_servers = dns;
  return Client::Create(options);
}

std::shared_ptr<ServiceChannel> ChannelTo(const Client& client, const std::string& service,
                                          CallerOptions options) {
  options.on_breaker = [](const BreakerChange& change) {
    std::cerr << change.service << " " << change.endpoint << ": the breaker is "
              << ToText(change.state) << std::endl;
  };
  auto channel = client.Channel(service, {.caller = std::move(options)});
  if (channel.ok()) return *channel;
  std::cerr << service << ": " << channel.status() << std::endl;
  std::exit(2);
}

grpc::Status PassOn(const std::string& service, const grpc::Status& status) {
  const bool away = status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                    status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  if (!away) return status;
  return {grpc::StatusCode::ABORTED, service + " is away: " + status.error_message()};
}

namespace {

// One of the two has come.
void WaitForEnd(const sigset_t& signals) {
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) {
  }
}

}  // namespace

int Serve(const std::string& service, int argc, char** argv,
          const std::function<std::unique_ptr<grpc::Service>(const Client&)>& make) {
  // Before there are threads, which would take them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  const auto client = Connect();
  if (!client.ok()) {
    std::cerr << client.status() << std::endl;
    return 2;
  }
  const std::unique_ptr<grpc::Service> implementation = make(*client);
  grpc::ServerBuilder builder;
  const std::string address = std::string("127.0.0.1:") + (argc > 1 ? argv[1] : "0");
  int port = 0;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(implementation.get());
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) {
    std::cerr << service << " can't listen on " << address << std::endl;
    return 1;
  }
  std::cout << service << " listens on 127.0.0.1:" << port << std::endl;

  // Registered for as long as this lives; a process that is killed is gone three seconds later.
  const auto registration =
      client->Register({.service = service, .address = {"127.0.0.1", static_cast<uint16_t>(port)}},
                       {.ttl = absl::Seconds(3)});
  if (!registration.ok()) {
    std::cerr << registration.status() << std::endl;
    return 2;
  }
  WaitForEnd(signals);
  // Whoever would call is told first, so that no call fails.
  (*registration)->Drain(absl::Seconds(2)).status().IgnoreError();
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
  return 0;
}

}  // namespace shop

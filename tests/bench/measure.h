// One round of one contestant: the load, and what it cost the server.
//
// Readings: "rate" operations a second, "cpu_us" server CPU an operation, "per_cpu" operations a
// server-CPU-second, "p50_us" and "p99_us" latencies, "written" bytes that the server wrote.
// An operation is a call or message, times `weight`. Thread safety: as Client. Errors: the load's.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "muster/v1/admin.pb.h"
#include "tests/bench/load.h"
#include "tests/bench/servers.h"
#include "tests/bench/workload.h"

namespace muster::bench {

// A server and the connections to it.
struct Server {
  std::shared_ptr<ServerProcess> process;
  std::unique_ptr<Client> client;
};
absl::StatusOr<std::shared_ptr<Server>> WithClient(
    absl::StatusOr<std::shared_ptr<ServerProcess>> process);

absl::StatusOr<Readings> Measure(const ServerProcess& server, Client& client, const UnaryLoad& load,
                                 absl::Duration duration, double weight = 1);
absl::StatusOr<Readings> Measure(const ServerProcess& server, Client& client,
                                 const StreamLoad& load, absl::Duration duration,
                                 double weight = 1);

// Contestants that do this load in each round.
Contestant Calling(std::string name, std::shared_ptr<Server> server, UnaryLoad load,
                   absl::Duration duration);
Contestant Conversing(std::string name, std::shared_ptr<Server> server, StreamLoad load,
                      absl::Duration duration, double weight = 1);

// Contestants whose servers are started anew, and warmed up by a round of each, before the first
// round and after every `rounds` rounds: for what makes servers grow.
class Renewed {
 public:
  using Start = std::function<absl::StatusOr<std::vector<Contestant>>()>;

  static absl::StatusOr<std::vector<Contestant>> Make(Start start, int rounds);

 private:
  Renewed(Start start, int rounds) : start_(std::move(start)), rounds_(rounds) {}
  absl::Status Begin();
  absl::StatusOr<Readings> Round(size_t place);

  const Start start_;
  const int rounds_;
  std::vector<Contestant> present_;
  std::vector<int> done_;  // rounds of each
};

// The reply to one call, to look at before the rounds.
absl::StatusOr<std::string> CallOnce(Client& client, const std::string& method,
                                     const std::string& request);
// Makes a bare server send the bytes to all who follow it, once they have sent what was before.
absl::Status PublishToAll(Client& client, const std::string& bytes);

// What musterd says of itself; its instances are compared with what a workload registered.
absl::StatusOr<v1::StatusResponse> StatusOf(Client& client);
absl::Status ExpectInstances(Client& client, uint64_t instances);

}  // namespace muster::bench

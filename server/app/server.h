// The composition root: builds the rooms in order, starts them, stops them in reverse. It decides
// nothing.
//
//   auto server = Server::Start(config);
//   std::cout << "ready grpc=" << (*server)->grpc_address() << std::endl;
//   ... until told to stop ...
//   (*server)->Stop();
//
// Thread safety: Start and Stop from one thread. Errors: those of the store, the token file, the
// certificates; UNAVAILABLE when the address can't be listened on.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/app/config.h"

namespace muster::app {

class Server {
 public:
  // Listens first, so that callers learn that the store is loading; returns once it is loaded.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ResolvedConfig& config);
  ~Server();

  // host:port with the port that was chosen.
  const std::string& grpc_address() const;

  // Refuses new calls, gives those under way 5 s, flushes and closes. Idempotent.
  void Stop();

 private:
  struct Rooms;
  explicit Server(std::unique_ptr<Rooms> rooms);
  std::unique_ptr<Rooms> rooms_;
};

}  // namespace muster::app

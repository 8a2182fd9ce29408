// Finds the instances of services through the registry, and registers those of this process.
//
//   auto client = Client::Create({.servers = {"10.0.0.1:8502", "10.0.0.2:8502"}});
//   auto api = client->Resolve("api");                   // or any form of target.h
//   if (api.ok() && !api->endpoints->empty()) Call(api->endpoints->front()->address);
//
// A service that was asked for once is followed: later answers come from memory, and the registry
// tells what changes. When the registry can't be reached, what it said last stays, and says how old
// it is; nothing empties it.
//
// Thread safety: all members. Cheap to copy: copies share one connection, and the last one ends it.
// Errors: INVALID_ARGUMENT for a name or option that can't be used, with what is allowed;
// UNAVAILABLE when the registry has not answered yet, with why. An answer without endpoints is no
// error: it says why there are none. UNIMPLEMENTED for names of DNS when Options::dns is off.
// Cost: a question for a service that is followed makes no call: the name is read, one
// table looked up, and the list of endpoints shared, not copied.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "muster/client/balancer.h"
#include "muster/client/caller.h"
#include "muster/client/connection.h"
#include "muster/client/metrics.h"
#include "muster/client/options.h"
#include "muster/client/registration.h"
#include "muster/client/resolution.h"

namespace muster::client {

class ServiceChannel;  // service_channel.h
struct ChannelOptions;

class Client {
 public:
  // Connects when something is asked for, and never fails for a registry that isn't there.
  static absl::StatusOr<Client> Create(Options options);
  // With a connection of a test's.
  explicit Client(std::shared_ptr<Connection> connection);

  // The first one for a service waits for the registry, at most Options::first_answer; in a
  // callback it doesn't.
  absl::StatusOr<Resolution> Resolve(std::string_view name) const;

  using Subscription = std::unique_ptr<Connection::Subscription>;
  // Calls the listener with the present answer, once there is one, and with each later one, on a
  // thread of the client's, one at a time. All callbacks of a client share that thread; nothing
  // else waits for it.
  absl::StatusOr<Subscription> Watch(std::string_view name, Connection::Listener listener) const;

  // Whom to call of this service, one after the other (balancer.h). Waits for the first answer as
  // Resolve does; without one, and as long as there is none, it has nobody to choose. Errors: only
  // INVALID_ARGUMENT, and UNIMPLEMENTED for a name of DNS when Options::dns is off.
  absl::StatusOr<Balancer> Balance(std::string_view name, BalanceOptions options = {}) const;

  // Calls endpoints of this service with retries and circuit breakers (caller.h). Keep it: it
  // remembers how calls ended. Waits and errors as of Balance; INVALID_ARGUMENT names the option.
  absl::StatusOr<Caller> CallerOf(std::string_view name, CallerOptions options = {}) const;
  // With a caller of default options that this client, and its copies, keep for the name. Errors:
  // of CallerOf and Caller::Call.
  absl::Status Call(std::string_view name, const Caller::Function& function,
                    Idempotent idempotent = Idempotent::kYes) const;

  // A gRPC channel to this service for generated stubs (service_channel.h, which has to be
  // included). Keep it, as a caller. Waits and errors as of CallerOf.
  absl::StatusOr<std::shared_ptr<ServiceChannel>> Channel(std::string_view name) const;
  absl::StatusOr<std::shared_ptr<ServiceChannel>> Channel(std::string_view name,
                                                          ChannelOptions options) const;

  // What was counted of the calls of all callers and channels, and how the registrations are
  // (metrics.h). Of this client and its copies.
  Metrics metrics() const;

  // From now on until the registration is destroyed (registration.h). Waits for nobody. Errors:
  // only INVALID_ARGUMENT.
  absl::StatusOr<std::unique_ptr<Registration>> Register(Instance instance,
                                                         RegisterOptions options = {}) const;

 private:
  struct Shared;
  class CountedRegistration;

  std::shared_ptr<Connection> connection_;
  std::shared_ptr<Shared> shared_;
};

}  // namespace muster::client

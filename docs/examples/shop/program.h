// What the programs of the shop have in common: each is a gRPC server that registers itself, and
// calls others by their names.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/server_context.h>

#include <functional>
#include <memory>
#include <string>

#include "muster/client/client.h"
#include "muster/client/service_channel.h"

namespace shop {

// The registry is that of MUSTER_ADDR; where it can't be asked, DNS is: the server SHOP_DNS
// (host:port), else the machine's.
absl::StatusOr<muster::client::Client> Connect();

// A channel to this service, or the end of the program.
std::shared_ptr<muster::client::ServiceChannel> ChannelTo(const muster::client::Client& client,
                                                          const std::string& service,
                                                          muster::client::CallerOptions options);

// What to answer when a call of `service` ended so. That it is away is not this program's failure:
// UNAVAILABLE and DEADLINE_EXCEEDED become ABORTED, which callers try again, too, but don't hold
// against whoever answers (caller.h says which codes they do). Passed on as they are, the breakers
// of those who call would leave out healthy instances of this program.
grpc::Status PassOn(const std::string& service, const grpc::Status& status);

// Serves as `service` on 127.0.0.1 until SIGTERM or SIGINT. `argv`: [PORT]. What main returns.
int Serve(const std::string& service, int argc, char** argv,
          const std::function<std::unique_ptr<grpc::Service>(const muster::client::Client&)>& make);

}  // namespace shop

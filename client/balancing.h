// A balancer that a connection feeds.
//
// Thread safety: pure.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/balance/balancer_core.h"
#include "muster/client/connection.h"
#include "muster/client/target.h"

namespace muster::client {

// What a target is called in messages, and by what it is known: the same for all paths of a URL.
std::string NameOf(const Target& target);

// Told of each change of the endpoints from now on, on the thread that makes views, before the
// balancer is.
using EndpointsListener = std::function<void(const EndpointList&)>;

// Runs it on the thread that makes views, once those of all balancers are of what they were told
// before.
void AfterViews(std::function<void()> task);

// Waits for the first answer. The options have been checked. Errors: of Connection::Watch, and
// UNIMPLEMENTED for names that it doesn't look up.
absl::StatusOr<std::shared_ptr<BalancerCore>> MakeBalancer(Connection& connection,
                                                           const Target& target,
                                                           BalanceOptions options,
                                                           BalancerCore::Breaking breaking,
                                                           EndpointsListener on_endpoints = {});

}  // namespace muster::client

#include "client/balancing.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/rng.h"
#include "client/check_options.h"
#include "client/foreign.h"
#include "client/loop.h"

namespace muster::client {
namespace {

// Views of all balancers are made on one thread, which lives as long as the process.
Loop& ViewLoop() {
  static Loop& loop = *new Loop("muster-balance", base::RealClock());
  return loop;
}

}  // namespace

void AfterViews(std::function<void()> task) { ViewLoop().Post(std::move(task)); }

// What a target is called in messages, and by what it is known: the same for all paths of a URL.
std::string NameOf(const Target& target) {
  if (target.kind == Target::Kind::kService) return target.query.service;
  if (target.kind == Target::Kind::kDns) return target.dns.host;
  return target.addresses.front().host;
}

absl::StatusOr<std::shared_ptr<BalancerCore>> MakeBalancer(Connection& connection,
                                                           const Target& target,
                                                           BalanceOptions options,
                                                           BalancerCore::Breaking breaking,
                                                           EndpointsListener on_endpoints) {
  options.slow_start = std::min(options.slow_start, kLongest);
  Loop& loop = ViewLoop();
  auto core = std::make_shared<BalancerCore>(std::move(options), breaking, base::SystemRng().Next(),
                                             base::RealClock(), loop);
  const std::string service = NameOf(target);
  const auto first = connection.Resolve(target);
  if (first.ok()) {
    core->Update(*first, service);
  } else if (absl::IsUnimplemented(first.status())) {
    return first.status();
  } else {
    core->Fail(first.status());
  }
  auto subscription = connection.Watch(
      target, [weak = std::weak_ptr<BalancerCore>(core), service,
               on_endpoints = std::move(on_endpoints), &loop](const Resolution& resolution) {
        loop.Post([weak, service, on_endpoints, resolution] {
          const auto balancer = weak.lock();
          if (balancer == nullptr) return;
          if (on_endpoints) on_endpoints(*resolution.endpoints);
          balancer->Update(resolution, service);
        });
      });
  if (!subscription.ok()) return subscription.status();
  // What feeds it ends with the last handle and on its thread: the loop's, which may hold the core
  // for a moment longer, doesn't wait for a connection that ends.
  struct Fed {
    std::shared_ptr<BalancerCore> core;
    std::unique_ptr<Connection::Subscription> subscription;
  };
  const std::shared_ptr<Fed> fed(new Fed{core, *std::move(subscription)},
                                 [](Fed* last) { DeleteOutside(last); });
  return std::shared_ptr<BalancerCore>(fed, core.get());
}

}  // namespace muster::client

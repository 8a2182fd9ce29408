// What all probes share. One for each ProberFactory.
//
// Thread safety: the health loop's thread, but for CallCount.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "server/health/probe_descriptors.h"
#include "server/health/resolver.h"
#include "server/health/target_guard.h"
#include "server/health/tls.h"

namespace muster::health {

// Calls of gRPC under way: their callbacks come on its threads, and what they touch has to stay
// until the last has come. Thread safety: all members.
class CallCount {
 public:
  void Enter();
  void Leave();
  void WaitForNone();

 private:
  base::Mutex mu_;
  base::CondVar none_;
  size_t count_ MUSTER_GUARDED_BY(mu_) = 0;
};

struct ProbeEnvironment {
  boost::asio::io_context& loop;
  TargetGuard guard;
  std::shared_ptr<Resolver> resolver;
  std::unique_ptr<TlsTrust> tls;
  ProbeDescriptors descriptors;
  // Channels that end late hold it.
  std::shared_ptr<ChannelRoom> channels;
  CallCount calls;
};

using Endpoints = std::vector<boost::asio::ip::tcp::endpoint>;

// Those of `addresses` that may be connected to, in order, at least one. Errors: PERMISSION_DENIED;
// says why the first may not.
absl::StatusOr<Endpoints> AllowedEndpoints(const TargetGuard& guard,
                                           const Resolver::Addresses& addresses, uint16_t port);

}  // namespace muster::health

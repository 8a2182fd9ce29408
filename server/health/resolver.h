// The seam to name resolution.
//
// Thread safety: Resolve on the health loop's thread.
#pragma once

#include <atomic>
#include <boost/asio/ip/address.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace muster::health {

class Resolver {
 public:
  // At least one address, in the order in which they should be tried.
  using Addresses = std::vector<boost::asio::ip::address>;
  using Done = std::function<void(absl::StatusOr<Addresses>)>;

  virtual ~Resolver() = default;

  // False while the name waits for others to be resolved: that it isn't in time says nothing then.
  using Begun = std::shared_ptr<const std::atomic<bool>>;

  // Calls `done` on the loop's thread, maybe within this call; not at all once `wanted` has
  // expired. Errors: UNAVAILABLE, with a message that says why.
  virtual Begun Resolve(const std::string& host, std::weak_ptr<const void> wanted, Done done) = 0;
};

}  // namespace muster::health

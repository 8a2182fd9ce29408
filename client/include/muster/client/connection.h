// What a Client rests on: for tests of an application to take its place.
//
// Thread safety: all members. Errors: as Client says.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "muster/client/registration.h"
#include "muster/client/resolution.h"
#include "muster/client/target.h"

namespace muster::client {

class Connection {
 public:
  // Ends what it stands for when it is destroyed: no callback begins afterwards, and one that runs
  // on another thread has ended.
  class Subscription {
   public:
    virtual ~Subscription() = default;
  };
  using Listener = std::function<void(const Resolution&)>;

  virtual ~Connection() = default;
  virtual absl::StatusOr<Resolution> Resolve(const Target& target) = 0;
  virtual absl::StatusOr<std::unique_ptr<Subscription>> Watch(const Target& target,
                                                              Listener listener) = 0;
  virtual absl::StatusOr<std::unique_ptr<Registration>> Register(Instance instance,
                                                                 RegisterOptions options) = 0;
};

}  // namespace muster::client

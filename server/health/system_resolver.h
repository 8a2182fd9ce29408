// Resolves names as the system does (files, DNS, whatever nsswitch.conf says), on threads of its
// own: it may hang for as long as a name server does.
//
// Who asks for a name that is being resolved gets the same answer. Names that were slow the last
// time have half of the threads, so that others don't wait for them.
//
// Thread safety: Resolve on the loop's thread. Ownership: `loop` outlives this. The destructor
// waits for threads that are idle; one that hangs in a resolution is left to end by itself and
// touches nothing of this. Cost: eight threads, from the first name on; a name whose runs have
// ended in the meantime isn't resolved.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/thread.h"
#include "server/health/resolver.h"

namespace muster::health {

class SystemResolver : public Resolver {
 public:
  struct Options {
    // Null: getaddrinfo. On any thread, several at once.
    std::function<absl::StatusOr<Addresses>(const std::string& host)> look_up;
    // A name that took so long is a slow one.
    absl::Duration slow = absl::Seconds(1);
  };
  explicit SystemResolver(boost::asio::io_context& loop) : SystemResolver(loop, {}) {}
  SystemResolver(boost::asio::io_context& loop, Options options);
  ~SystemResolver() override;

  Begun Resolve(const std::string& host, std::weak_ptr<const void> wanted, Done done) override;

 private:
  struct Queue;
  struct Worker;
  static void Work(const std::shared_ptr<Queue>& queue, const std::shared_ptr<Worker>& worker);

  const std::shared_ptr<Queue> queue_;
  std::vector<std::shared_ptr<Worker>> workers_;
};

}  // namespace muster::health

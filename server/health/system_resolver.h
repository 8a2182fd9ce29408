// Resolves names as the system does (files, DNS, whatever nsswitch.conf says), on threads of its
// own: it may hang for as long as a name server does.
//
// Thread safety: Resolve on the loop's thread. Ownership: `loop` outlives this. The destructor
// waits for threads that are idle; one that hangs in a resolution is left to end by itself and
// touches nothing of this. Cost: two threads, from the first name on; a name whose run has ended in
// the meantime isn't resolved.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/thread.h"
#include "server/health/resolver.h"

namespace muster::health {

class SystemResolver : public Resolver {
 public:
  explicit SystemResolver(boost::asio::io_context& loop);
  ~SystemResolver() override;

  void Resolve(const std::string& host, std::weak_ptr<const void> wanted, Done done) override;
  bool IsCrowded() const override;

 private:
  struct Queue;
  struct Worker;
  static void Work(const std::shared_ptr<Queue>& queue, const std::shared_ptr<Worker>& worker);

  const std::shared_ptr<Queue> queue_;
  std::vector<std::shared_ptr<Worker>> workers_;
};

}  // namespace muster::health

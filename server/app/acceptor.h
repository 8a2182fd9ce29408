// Acceptor: one thread that accepts connections and hands them over. In place of gRPC's own, which
// ends for good when the process once runs out of descriptors (docs/adr/0006-own-accept-loop.md).
//
//   Acceptor acceptor(*std::move(sockets), {.clock = clock, .reserved = share.reserved});
//   acceptor.Start([&](int listener, int fd) { ... });   // owns fd from then on
//   acceptor.Stop();
//
// An accepted socket gets a number of at least `reserved` and below `end`; the others stay free for
// the store, and for probes. When there is none, the connection is closed at once, counted and
// logged. When nothing can be accepted at all (the process or the machine is out of descriptors or
// memory), it tries again every 100 ms.
//
// Thread safety: Start and Stop from one thread, the others from any. The callback runs on the
// acceptor's thread and must not block. Cost: CountOpen makes a system call for each number up to
// the highest that ever was in use, about 50 ns each.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/thread.h"
#include "server/app/listen.h"

namespace muster::app {

class Acceptor {
 public:
  struct Options {
    const base::Clock& clock;  // outlives this
    int reserved = 0;
    int end = std::numeric_limits<int>::max();
  };
  Acceptor(ListeningSockets sockets, const Options& options);
  ~Acceptor() { Stop(); }

  // REQUIRES: not started yet.
  void Start(std::function<void(int listener, int fd)> take);
  // Joins, then closes the listening sockets: whoever connects is refused. Idempotent.
  void Stop();

  uint16_t port() const { return port_; }
  // Connections that are open now: descriptors at or above `reserved`, those of probes as well.
  uint64_t CountOpen() const;
  // Connections that were closed at once, since the start.
  uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }
  // When the last of them was.
  base::SteadyTime last_refused() const {
    return {last_refused_us_.load(std::memory_order_relaxed)};
  }

 private:
  void Run();
  // False: nothing can be accepted for now.
  bool AcceptReady(int listener);
  void Take(int listener, int accepted);
  // Whether the line that was last logged at `last` may come again.
  bool MayLog(std::optional<base::SteadyTime>& last) const;

  const Options options_;
  const uint16_t port_;
  const OwnedFd wake_;  // an eventfd; readable when it is time to stop
  std::vector<OwnedFd> listeners_;
  std::function<void(int, int)> take_;
  std::atomic<int> highest_{-1};
  std::atomic<uint64_t> refused_{0};
  std::atomic<int64_t> last_refused_us_{0};
  // Of the thread.
  std::optional<base::SteadyTime> refusal_logged_;
  std::optional<base::SteadyTime> failure_logged_;
  base::NamedThread thread_;
};

}  // namespace muster::app

// What probes may take of the process's file descriptors, so that those that the store needs stay
// free whatever is probed (docs/adr/0006-own-accept-loop.md).
//
// Sockets of http and tcp probes get numbers among those of connections. Nobody chooses the numbers
// that gRPC takes for its own: so its connections are counted.
#pragma once

#include <cstddef>
#include <functional>
#include <limits>
#include <queue>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"

namespace muster::health {

struct ProbeDescriptors {
  // Of sockets: first <= number < end.
  int first = 0;
  int end = std::numeric_limits<int>::max();
  // Connections of grpc checks at once.
  size_t channels = 1'000'000;
};

// A new TCP socket, close-on-exec. -1: there is no number left for it, or none at all; errno says.
int OpenSocket(const ProbeDescriptors& descriptors, int family);

// Connections of grpc checks: how many there are, and how many of them are kept from run to run.
// Three quarters may be: the others are for those that aren't. Thread safety: all members.
class ChannelRoom {
 public:
  explicit ChannelRoom(size_t most) : most_(most), most_kept_(most - most / 4) {}

  // False: there is no room for it.
  bool Open(base::SteadyTime now);
  // `lingers_until`: its connection may stay open until then.
  void Close(base::SteadyTime lingers_until);
  bool Keep();
  void LetGo();

 private:
  const size_t most_;
  const size_t most_kept_;
  base::Mutex mu_;
  size_t open_ MUSTER_GUARDED_BY(mu_) = 0;
  size_t kept_ MUSTER_GUARDED_BY(mu_) = 0;
  std::priority_queue<base::SteadyTime, std::vector<base::SteadyTime>, std::greater<>> lingering_
      MUSTER_GUARDED_BY(mu_);
};

}  // namespace muster::health

// KeepAliveStreams: the open KeepAlive streams, each with one reply per request, in order.
//
// Thread safety: all members. Ownership: streams own themselves until gRPC is done with them; the
// gRPC server has ended its calls before this goes. Cost: a request is answered on gRPC's thread.
#pragma once

#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "server/core/registry.h"
#include "server/rpc/access.h"
#include "server/rpc/calls.h"
#include "server/rpc/server_state.h"

namespace muster::rpc {

class KeepAliveStream;

class KeepAliveStreams {
 public:
  explicit KeepAliveStreams(core::Registry& registry) : registry_(registry) {}

  // A stream that ends once its token no longer suffices.
  void Open(StreamCall& call, const StreamAccess& access);
  // Every second or so: looks whether the tokens of all streams still suffice.
  void Tick();
  // Ends all streams, and all later ones, with UNAVAILABLE (DRAINING). One that has a reply under
  // way ends after it.
  void EndAll();

 private:
  friend class KeepAliveStream;

  std::vector<std::shared_ptr<KeepAliveStream>> Streams() const;

  core::Registry& registry_;
  mutable base::Mutex mu_;
  bool ended_ MUSTER_GUARDED_BY(mu_) = false;
  absl::flat_hash_map<KeepAliveStream*, std::shared_ptr<KeepAliveStream>> streams_
      MUSTER_GUARDED_BY(mu_);
};

}  // namespace muster::rpc

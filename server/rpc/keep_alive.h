// KeepAliveStreams: the open KeepAlive streams, each with one reply per request, in order.
//
// Thread safety: all members. Ownership: streams own themselves until gRPC is done with them; the
// gRPC server has ended its calls before this goes. Cost: a request is answered on gRPC's thread.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "base/mutex.h"
#include "server/core/registry.h"
#include "server/rpc/server_state.h"

namespace muster::rpc {

class KeepAliveStream;

class KeepAliveStreams {
 public:
  using Reactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

  explicit KeepAliveStreams(core::Registry& registry) : registry_(registry) {}

  // A stream that ends at once with `admitted` unless that is OK.
  Reactor* Open(const absl::Status& admitted);
  // Ends all streams, and all later ones, with UNAVAILABLE (DRAINING). One that has a reply under
  // way ends after it.
  void EndAll();
  uint64_t streams() const;

 private:
  friend class KeepAliveStream;

  core::Registry& registry_;
  mutable base::Mutex mu_;
  bool ended_ MUSTER_GUARDED_BY(mu_) = false;
  absl::flat_hash_map<KeepAliveStream*, std::shared_ptr<KeepAliveStream>> streams_
      MUSTER_GUARDED_BY(mu_);
};

}  // namespace muster::rpc

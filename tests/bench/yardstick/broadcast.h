// Streams that are sent the same bytes, and nothing else: what Watch is compared with.
//
// A stream's first message is sent back, so that its client knows that the stream is open; later
// ones are read and dropped. Publish sends to all, from the calling thread.
//
// Thread safety: all members. Ownership: a stream's reactor lives until its OnDone; the Broadcast
// outlives all of them. Errors: Publish: ABORTED, and nothing is
// sent, when a stream has not sent the bytes before.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "absl/container/flat_hash_set.h"
#include "base/mutex.h"

namespace muster::bench {

class Broadcast {
 public:
  using Reactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

  Reactor* Follow();
  grpc::Status Publish(const grpc::ByteBuffer& bytes);

 private:
  class Stream;

  base::Mutex mu_;
  absl::flat_hash_set<Stream*> streams_ MUSTER_GUARDED_BY(mu_);
};

}  // namespace muster::bench

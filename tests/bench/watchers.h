// Many open streams, and when the last of them has what the server sends: the same for Watch and
// for the bare streams that it is compared with.
//
//   OpenStreams watchers(server.address(), {.connections = 100});
//   watchers.Open({.method = kWatch, .streams = 10'000, .requests = ..., .messages = 1});
//   watchers.Expect(1);                                  // of each stream
//   ... what makes the server send them ...
//   absl::StatusOr<absl::Time> last = watchers.Await();  // when the last stream had it
//
// Two threads, each with half of the connections; connections and streams are dealt out in turn.
// Thread safety: OpenStreams belongs to one thread; `counts` is called from both of its own.
// Errors: a stream that the server ends, or 60 s without what is awaited: Open, Send and Await say
// so; which error a stream ended with is kept. Cost: about 10 us of CPU a message, 25 KB a stream.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/bench/load.h"

namespace muster::bench {

// What a stream says, by its number.
using MakeRequests = std::function<std::vector<std::string>(size_t stream)>;

struct WatchLoad {
  std::string method = kWatch;
  size_t streams = 0;
  MakeRequests requests;
  size_t messages = 1;  // that answer these
  // Stops to read after those. The transport goes on until a stream's window of 64 KiB is full.
  bool stalls = false;
  // Which messages are awaited and counted. None: all.
  std::function<bool(const grpc::ByteBuffer&)> counts{};
};

class OpenStreams {
 public:
  // Connects.
  OpenStreams(const std::string& address, size_t connections);
  // Cancels the streams.
  ~OpenStreams();
  OpenStreams(const OpenStreams&) = delete;

  // Opens the streams, once, and waits until each has said its requests and has their answers.
  absl::Status Open(const WatchLoad& load);
  // Says more on each stream, and waits until it is said and answered. REQUIRES: they don't stall.
  absl::Status Send(const MakeRequests& requests, size_t messages);

  // From now on so many more messages of each stream are awaited. REQUIRES: those before have come.
  void Expect(size_t messages);
  // Until they have come: when the last did.
  absl::StatusOr<absl::Time> Await();

  // Of all streams so far: those that count.
  uint64_t messages() const;
  uint64_t bytes() const;
  // The latest message of stream 0.
  std::string sample() const;
  // What a stream that ended ended with.
  absl::Status status() const;

 private:
  class Thread;
  struct Awaited;
  Thread& ThreadOf(size_t stream) const { return *threads_[stream % threads_.size()]; }

  size_t streams_ = 0;
  const std::unique_ptr<Awaited> awaited_;
  std::vector<std::unique_ptr<Thread>> threads_;  // last: they use the others
};

// The first message of a stream that watches one service.
std::string SubscribeTo(const std::string& service, uint64_t sub_id = 1);
// An event of a subscription, not of the stream.
bool IsOfSubscription(const grpc::ByteBuffer& event);

}  // namespace muster::bench

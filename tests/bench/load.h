// The load generator: encoded requests over gRPC's completion queues, the same for muster and
// yardsticks, so that what differs is the server.
//
//   Client client(server->address());
//   auto result = client.Call({.method = kDiscover, .in_flight = 64, .request = ...},
//   absl::Seconds(1)); result->PerSecond();
//
// Two threads, each with connections and a queue of its own. Each keeps its share in flight: a call
// or message is sent when one is answered (closed loop), or when it is due (`per_second`).
//
// Thread safety: a Client runs one load at a time; several clients may run at once. `request` and
// `reply` are called from both threads at once. Errors: the first call that fails, or a reply that
// `reply` refuses, ends the load with that error. A server that stops answering for 30 s:
// DEADLINE_EXCEEDED. Cost: about 10 us of CPU a call.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/support/byte_buffer.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace muster::bench {

inline constexpr char kDiscover[] = "/muster.v1.Discovery/Discover";
inline constexpr char kWatch[] = "/muster.v1.Discovery/Watch";
inline constexpr char kRegister[] = "/muster.v1.Registry/Register";
inline constexpr char kBatchRegister[] = "/muster.v1.Registry/BatchRegister";
inline constexpr char kHeartbeat[] = "/muster.v1.Registry/Heartbeat";
inline constexpr char kKeepAlive[] = "/muster.v1.Registry/KeepAlive";
inline constexpr char kStatus[] = "/muster.v1.Admin/Status";

inline constexpr char kEtcdRange[] = "/etcdserverpb.KV/Range";
inline constexpr char kEtcdPut[] = "/etcdserverpb.KV/Put";

// Latencies, kept with an error of at most 1.6 %.
class LatencyHistogram {
 public:
  void Add(absl::Duration latency);
  void Merge(const LatencyHistogram& other);
  uint64_t count() const { return count_; }
  // REQUIRES: 0 < share <= 1. Zero when nothing was added.
  absl::Duration Quantile(double share) const;

 private:
  static constexpr size_t kParts = 64;  // of each doubling
  static constexpr size_t kDoublings = 40;
  std::array<uint32_t, kParts * kDoublings> buckets_{};
  uint64_t count_ = 0;
};

struct LoadResult {
  uint64_t operations = 0;   // answered
  absl::Duration elapsed;    // until the last answer
  LatencyHistogram latency;  // from when it was sent, or due

  double PerSecond() const {
    return static_cast<double>(operations) / absl::ToDoubleSeconds(elapsed);
  }
};

// Makes the request of this number, unique in the load and counted from 0. False: no more.
using MakeRequest = std::function<bool(uint64_t number, grpc::ByteBuffer* request)>;
// The same bytes again and again.
MakeRequest Same(std::string bytes);
// Looks at the reply to the request of this number.
using TakeReply = std::function<absl::Status(uint64_t number, const grpc::ByteBuffer& reply)>;

struct UnaryLoad {
  std::string method;
  size_t in_flight = 64;
  MakeRequest request;
  TakeReply reply{};      // none: only that the call succeeds
  double per_second = 0;  // 0: closed loop. When all are in flight, calls wait, and that counts
};

// Bidi streams; on each one message is on its way at a time.
struct StreamLoad {
  std::string method;
  size_t streams = 64;
  MakeRequest request;
  TakeReply reply{};
};

class Client {
 public:
  // `connections` for each thread.
  explicit Client(const std::string& address, size_t connections = 2, size_t threads = 2);
  ~Client();
  Client(const Client&) = delete;

  // For `duration`, or until there are no more requests; then until all are answered.
  absl::StatusOr<LoadResult> Call(const UnaryLoad& load, absl::Duration duration);
  absl::StatusOr<LoadResult> Converse(const StreamLoad& load, absl::Duration duration);

 private:
  struct Thread;  // its connections
  std::vector<std::unique_ptr<Thread>> threads_;
};

// One message of one slice.
grpc::ByteBuffer ToBuffer(std::string_view bytes);
std::string ToString(const grpc::ByteBuffer& buffer);

}  // namespace muster::bench

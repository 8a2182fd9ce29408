// The seam between what keeps leases and the network.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "muster/v1/registry.pb.h"

namespace muster::client {

// One server, spoken to over one connection: a KeepAlive stream, and calls beside it. Of errors,
// ReasonOf (rpc_error.h) has the server's reason.
class LeaseSession {
 public:
  template <typename Response>
  using Done = std::function<void(absl::StatusOr<Response> response)>;

  // Cancels all of it. No callback begins afterwards.
  virtual ~LeaseSession() = default;
  // Answered in this order, whether or not the stream is open yet.
  virtual void Beat(v1::HeartbeatRequest request) = 0;
  // DEADLINE_EXCEEDED: no answer `within`.
  virtual void Register(const v1::RegisterRequest& request, absl::Duration within,
                        Done<v1::RegisterResponse> done) = 0;
  virtual void Deregister(const v1::DeregisterRequest& request, absl::Duration within,
                          Done<v1::DeregisterResponse> done) = 0;
  virtual void ReportHealth(const v1::ReportHealthRequest& request, absl::Duration within,
                            Done<v1::ReportHealthResponse> done) = 0;
  virtual void Drain(const v1::DrainRequest& request, absl::Duration within,
                     Done<v1::DrainResponse> done) = 0;
};

class LeaseTransport {
 public:
  struct Callbacks {
    std::function<void(v1::HeartbeatResponse response)> on_beat;
    // The stream is lost, and what was written isn't answered. OK: the server didn't say why.
    std::function<void(absl::Status status)> on_end;
  };

  virtual ~LeaseTransport() = default;
  // At least one.
  virtual size_t servers() const = 0;
  // For messages: "10.0.0.1:8502".
  virtual std::string address(size_t server) const = 0;
  // Connects as well. All callbacks run on any thread, none within a call of these. REQUIRES: a
  // session isn't destroyed by one of its callbacks.
  virtual std::unique_ptr<LeaseSession> Open(size_t server, Callbacks callbacks) = 0;
};

}  // namespace muster::client

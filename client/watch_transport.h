// The seam between what follows services and the network.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "muster/v1/discovery.pb.h"

namespace muster::client {

// One Watch stream of one server.
class WatchStream {
 public:
  // Cancels it. Neither callback begins afterwards.
  virtual ~WatchStream() = default;
  // Sent in this order, whether or not the stream is open yet.
  virtual void Write(v1::WatchRequest request) = 0;
  // The next event may come. Has to be called once for each that came.
  virtual void ReadNext() = 0;
};

class WatchTransport {
 public:
  struct Callbacks {
    // Then nothing, until ReadNext.
    std::function<void(v1::WatchResponse event)> on_event;
    // The last one. Not OK, unless the server ended the stream without saying why.
    std::function<void(absl::Status status)> on_end;
  };

  virtual ~WatchTransport() = default;
  // At least one.
  virtual size_t servers() const = 0;
  // For messages: "10.0.0.1:8502".
  virtual std::string address(size_t server) const = 0;
  // Connects as well. The callbacks run on any thread, one at a time, and not within this call.
  virtual std::unique_ptr<WatchStream> Open(size_t server, Callbacks callbacks) = 0;
};

}  // namespace muster::client

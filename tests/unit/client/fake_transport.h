// Servers of the test's: it sees what is asked, and answers.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/endpoint_set.h"
#include "client/watch_transport.h"
#include "client/wire.h"
#include "muster/client/target.h"

namespace muster::client::testing {

class FakeTransport : public WatchTransport {
 public:
  struct Call {
    size_t server = 0;
    Callbacks callbacks;
    std::vector<v1::WatchRequest> requests;
    int reads = 0;
    bool open = true;

    void Answer(v1::WatchResponse event) const { callbacks.on_event(std::move(event)); }
    void End(absl::Status status) const { callbacks.on_end(std::move(status)); }
    // Of the last request for a service, 0 when there is none.
    uint64_t SubIdOf(const std::string& service) const {
      uint64_t sub_id = 0;
      for (const auto& request : requests) {
        if (request.subscribe().service() == service) sub_id = request.subscribe().sub_id();
      }
      return sub_id;
    }
  };

  explicit FakeTransport(size_t servers) : servers_(servers) {}
  size_t servers() const override { return servers_; }
  std::string address(size_t server) const override { return absl::StrCat("server-", server); }
  std::unique_ptr<WatchStream> Open(size_t server, Callbacks callbacks) override {
    calls_.push_back(std::make_shared<Call>(Call{server, std::move(callbacks)}));
    return std::make_unique<Stream>(calls_.back());
  }

  size_t calls() const { return calls_.size(); }
  Call& last() { return *calls_.back(); }
  Call& call(size_t i) { return *calls_.at(i); }

 private:
  class Stream : public WatchStream {
   public:
    explicit Stream(std::shared_ptr<Call> call) : call_(std::move(call)) {}
    ~Stream() override { call_->open = false; }
    void Write(v1::WatchRequest request) override { call_->requests.push_back(std::move(request)); }
    void ReadNext() override { ++call_->reads; }

   private:
    const std::shared_ptr<Call> call_;
  };

  const size_t servers_;
  std::vector<std::shared_ptr<Call>> calls_;
};

// A whole snapshot of a subscription.
inline v1::WatchResponse Snapshot(uint64_t sub_id, const std::vector<v1::Endpoint>& endpoints,
                                  uint64_t seq, v1::EmptyReason reason = v1::NO_INSTANCES) {
  v1::WatchResponse event;
  event.set_sub_id(sub_id);
  v1::Snapshot& snapshot = *event.mutable_snapshot();
  uint64_t checksum = 0;
  for (const v1::Endpoint& endpoint : endpoints) {
    *snapshot.add_endpoints() = endpoint;
    checksum += EndpointHash(FromWire(endpoint));
  }
  snapshot.mutable_revision()->set_epoch(7);
  snapshot.mutable_revision()->set_seq(seq);
  snapshot.set_checksum(checksum);
  if (endpoints.empty()) snapshot.set_empty_reason(reason);
  snapshot.set_complete(true);
  return event;
}

// REQUIRES: it is a name.
inline Target At(const std::string& name) { return ParseTarget(name).value(); }

inline v1::Endpoint OneEndpoint(const std::string& id, uint64_t revision) {
  v1::Endpoint endpoint;
  endpoint.set_id(id);
  endpoint.set_address("10.0.0.1");
  endpoint.set_port(80);
  endpoint.mutable_weight()->set_passing(1);
  endpoint.set_health(v1::PASSING);
  endpoint.set_state(v1::ACTIVE);
  endpoint.set_revision(revision);
  return endpoint;
}

}  // namespace muster::client::testing

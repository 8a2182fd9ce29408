// Many services on one Watch stream: sets kept, losses resumed, wrong sets asked for again.
//
// Thread safety: none. Cost: holds the endpoints of all services.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "client/cli/endpoint_set.h"
#include "client/cli/stream_keeper.h"
#include "muster/v1/discovery.grpc.pb.h"

namespace muster::cli {

class Follower {
 public:
  // What comes, by the position of the service. False: enough, end the stream.
  class Listener {
   public:
    virtual ~Listener() = default;
    // `event.sub_id` is the position, from 1.
    virtual bool OnEvent(size_t service, const v1::WatchResponse& event,
                         const EndpointSet::Applied& applied) = 0;
    // The server ended the subscription; `left` others go on.
    virtual bool OnEnded(size_t service, const absl::Status& status, size_t left) = 0;
  };

  // `wanted`: without sub_id and resume. REQUIRES: keeper and listener outlive it.
  Follower(StreamKeeper& keeper, std::vector<v1::Subscribe> wanted, Listener& listener);

  // As StreamKeeper::Run.
  absl::Status Run();

  const EndpointSet& set(size_t service) const { return services_[service].set; }

 private:
  using Stream = grpc::ClientReaderWriterInterface<v1::WatchRequest, v1::WatchResponse>;
  struct Service {
    v1::Subscribe wanted;
    EndpointSet set;
    // On the present stream.
    uint64_t sub_id = 0;
    bool ended = false;
  };

  grpc::Status RunOnce(const std::shared_ptr<grpc::ChannelInterface>& channel,
                       grpc::ClientContext* call);
  bool Subscribe(Stream& stream, size_t service);
  // False: enough.
  bool Take(Stream& stream, v1::WatchResponse& event);
  bool TakeFor(Stream& stream, size_t service, v1::WatchResponse& event);
  bool End(size_t service, const v1::WatchResponse& event);
  void StartAfresh(Stream& stream, size_t service);

  StreamKeeper& keeper_;
  Listener& listener_;
  std::vector<Service> services_;
  std::map<uint64_t, size_t> by_sub_id_;
  uint64_t last_sub_id_ = 0;
};

}  // namespace muster::cli

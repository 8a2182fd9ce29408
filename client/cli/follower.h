// Many services on one Watch stream: sets kept, losses resumed, wrong sets asked for again.
//
// Thread safety: none. Cost: holds the endpoints of all services.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "client/cli/stream_keeper.h"
#include "client/following.h"
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
                         const client::EndpointSet::Applied& applied) = 0;
    // The server ended the subscription; `left` others go on.
    virtual bool OnEnded(size_t service, const absl::Status& status, size_t left) = 0;
  };

  // `wanted`: without sub_id and resume. REQUIRES: keeper and listener outlive it.
  Follower(StreamKeeper& keeper, std::vector<v1::Subscribe> wanted, Listener& listener);

  // As StreamKeeper::Run.
  absl::Status Run();

  const client::EndpointSet& set(size_t service) const { return following_.set(service + 1); }

 private:
  using Stream = grpc::ClientReaderWriterInterface<v1::WatchRequest, v1::WatchResponse>;

  grpc::Status RunOnce(const std::shared_ptr<grpc::ChannelInterface>& channel,
                       grpc::ClientContext* call);
  // False: enough.
  bool Take(v1::WatchResponse& event);

  StreamKeeper& keeper_;
  Listener& listener_;
  client::Following following_;  // ids: the positions, from 1
};

}  // namespace muster::cli

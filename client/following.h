// Many services on one Watch stream: what is to be asked, and what each answer means. Losses are
// resumed, wrong sets are asked for again. Knows no stream and no time.
//
//   Following following;
//   const Following::Id id = following.Add(ToSubscribe(query));
//   following.StreamOpened();
//   while (auto request = following.NextRequest()) stream.Write(*request);
//   … an event came …
//   if (auto update = following.Take(event)) Publish(update->id, following.set(update->id));
//   … the stream was lost: following.StreamLost(), and on the next one all over again …
//
// Thread safety: none. Cost: holds the endpoints of all services; an event costs its own size.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>

#include "client/endpoint_set.h"
#include "muster/v1/discovery.pb.h"

namespace muster::client {

class Following {
 public:
  using Id = uint64_t;  // counted from 1

  struct Update {
    Id id = 0;
    EndpointSet::Applied applied;  // with a problem twice in a row, it isn't asked for again either
    // The server ended the subscription, and says why; it isn't asked for again by itself.
    std::optional<google::rpc::Status> ended;
    // The server wants it confirmed: Confirm(id, *ack), once nobody uses what is gone.
    std::optional<v1::Ack> ack;
  };

  // `wanted`: without sub_id and resume.
  Id Add(v1::Subscribe wanted);
  // What is under way for it means nothing any more. REQUIRES: Has(id).
  void Remove(Id id);
  // One that isn't asked for any more is asked for once more. REQUIRES: Has(id).
  void AskAgain(Id id);
  // Of an update. Nothing when it is of a subscription that has ended since.
  void Confirm(Id id, const v1::Ack& ack);

  // Everything is to be asked for, from where it was left.
  void StreamOpened();
  void StreamLost();

  // What is to be sent on the stream now; nullopt: nothing.
  std::optional<v1::WatchRequest> NextRequest();
  // Nullopt: nothing that concerns a service. Progress moves the resume points of all.
  std::optional<Update> Take(const v1::WatchResponse& event);

  bool Has(Id id) const { return services_.contains(id); }
  // It isn't asked for any more. REQUIRES: Has(id).
  bool ended(Id id) const { return services_.at(id).ended; }
  // REQUIRES: Has(id).
  const EndpointSet& set(Id id) const { return services_.at(id).set; }
  // Of those that are asked for.
  size_t live() const { return live_; }
  size_t size() const { return services_.size(); }

 private:
  struct Service {
    v1::Subscribe wanted;
    EndpointSet set;
    uint64_t sub_id = 0;   // on the present stream; 0 = none
    bool current = false;  // the set is the one of this subscription
    bool ended = false;
    int problems = 0;  // in a row
  };

  void End(Service& service);
  void Subscribe(Id id, Service& service);
  void Unsubscribe(Service& service);

  std::map<Id, Service> services_;
  std::map<uint64_t, Id> by_sub_id_;
  std::deque<v1::WatchRequest> requests_;
  Id last_id_ = 0;
  uint64_t last_sub_id_ = 0;
  size_t live_ = 0;
  bool open_ = false;
};

}  // namespace muster::client

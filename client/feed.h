// Follows services for as long as it lives: on one stream to one of several servers, and on another
// when that one is lost.
//
// A server that doesn't answer within `first_event`, and longer each time that all have failed in
// turn, is given up for the next one (failover.h). Without a service to follow there is no stream.
//
// Thread safety: none: on the scheduler's thread, callbacks included. Errors: none; lost() says why
// nothing comes. Cost: as Following.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/rng.h"
#include "client/failover.h"
#include "client/following.h"
#include "client/scheduler.h"
#include "client/watch_transport.h"

namespace muster::client {

class Feed {
 public:
  struct Options {
    absl::Duration first_event = absl::Seconds(2);
    Failover::Options failover;
    // A stream on which nothing came for so long is lost: the server tells its progress more often.
    absl::Duration silence = absl::Seconds(75);
    // A stream that lived for so long was a good one: the next loss is the first.
    absl::Duration good = absl::Seconds(5);
    // A subscription that the server refuses is asked for again after half to all of this.
    absl::Duration refused = absl::Seconds(10);
  };

  class Sink {
   public:
    virtual ~Sink() = default;
    virtual void OnUpdate(const Following::Update& update, const EndpointSet& set) = 0;
    // Nothing is confirmed from now on, until an update of each comes again. `next`: what becomes
    // of it.
    virtual void OnLost(const absl::Status& why, const Failover::Next& next) = 0;
  };

  // REQUIRES: all outlive it.
  Feed(Scheduler& scheduler, WatchTransport& transport, base::Rng& rng, Options options,
       Sink& sink);
  ~Feed();

  Following::Id Add(v1::Subscribe wanted);
  void Remove(Following::Id id);
  // What an update asked for.
  void Confirm(Following::Id id, const v1::Ack& ack);

  // Something came on the present stream.
  bool connected() const { return connected_; }
  // When something came last.
  base::SteadyTime heard() const { return heard_; }
  // Why nothing comes; OK when connected, or nothing has failed yet.
  const absl::Status& lost() const { return lost_; }

 private:
  // Of one stream: callbacks that come late know by it that they are.
  struct Alive {};

  void Open();
  void Close();
  void Write();
  void OnEvent(const v1::WatchResponse& event);
  void OnEnd(absl::Status status);
  void Fail(absl::Status status);
  void AskAgainLater(Following::Id id);
  void Expect(absl::Duration within);
  // Wraps a callback so that it runs on the scheduler, unless the stream is another one by then.
  template <typename Argument>
  std::function<void(Argument)> Posted(void (Feed::*handle)(Argument));

  Scheduler& scheduler_;
  WatchTransport& transport_;
  base::Rng& rng_;
  const Options options_;
  Sink& sink_;
  Following following_;
  std::unique_ptr<WatchStream> stream_;
  std::shared_ptr<Alive> alive_;
  std::shared_ptr<Alive> exists_ = std::make_shared<Alive>();  // of the feed, for its timers
  Scheduler::Timer timer_ = 0;
  Failover failover_;
  base::SteadyTime opened_{};
  bool connected_ = false;
  base::SteadyTime heard_{};
  uint64_t events_ = 0;
  absl::Status lost_;
};

}  // namespace muster::client

// What is known of one query: the last answer with endpoints, or why there is none.
//
//   live:  the registry says so now            -> kRegistry
//   lost:  it said so, and can't be asked now  -> kLastKnown, as old as that is
//   primed: it said so to a former process     -> kSnapshot, as old as that is
//   An empty answer takes the place of one with endpoints once it has stood for `keep_last`; until
//   then the endpoints stay, as kLastKnown. So do, beside those that it has, the ones that a
//   registry with a new store doesn't have yet.
//
// Thread safety: all members; Take, Lose, Refuse and Settle by one thread. Cost of Answer: a mutex
// and two pointers.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "client/endpoint_set.h"
#include "muster/client/resolution.h"
#include "muster/client/target.h"

namespace muster::client {

using EndpointList = std::vector<EndpointPtr>;

// What of the endpoints of a service meets the conditions that are the client's own (region, zone,
// port). A named port takes the place of the main one.
EndpointList Select(const Query& query, const EndpointList& endpoints);

class FollowedService {
 public:
  // How answers are labelled; those from a snapshot as that.
  struct Labels {
    Resolution::Source live = Resolution::Source::kRegistry;
    Resolution::Source lost = Resolution::Source::kLastKnown;
  };
  explicit FollowedService(Query query) : FollowedService(std::move(query), Labels{}) {}
  FollowedService(Query query, Labels labels) : query_(std::move(query)), labels_(labels) {}
  const Query& query() const { return query_; }

  // Before anything else: what a former process knew, and when that was last known to be right.
  void Prime(std::shared_ptr<const EndpointList> endpoints, base::SteadyTime confirmed);

  // nullopt: nothing is known yet.
  std::optional<Resolution> Answer(base::SteadyTime now) const;
  // Whoever could say it doesn't answer this query.
  bool refused() const;
  // Answer says no more and no less than the registry does now.
  bool is_current() const;
  // Waits while the registry hasn't spoken, and may do so: until it does, or is lost.
  void WaitForRegistry(absl::Duration within, const base::Clock& clock) const;
  // Waits for one, or for a refusal, which is the error. DEADLINE_EXCEEDED: neither came, or, if
  // `until_lost`, whoever could say it can't be asked now.
  absl::StatusOr<Resolution> Wait(absl::Duration within, const base::Clock& clock,
                                  bool until_lost = false) const;

  // A complete answer of the registry. True: what Answer says changed. `settle_at`: when Settle has
  // to be called, if at all. `new_store`: this one doesn't go on from the one before.
  bool Take(EndpointList endpoints, Resolution::Empty why, base::SteadyTime now,
            absl::Duration keep_last, std::optional<base::SteadyTime>* settle_at,
            bool new_store = false);
  // An answer that has stood for long enough is believed. True: as of Take.
  bool Settle(base::SteadyTime now);
  // Nothing is confirmed any more; it last was at `confirmed`. `can_ask`: another server may answer
  // in a moment. True: as of Take.
  bool Lose(base::SteadyTime confirmed, bool can_ask = false);
  // The registry doesn't answer this query.
  bool Refuse(absl::Status why, base::SteadyTime now);

 private:
  Resolution AnswerAt(base::SteadyTime now) const MUSTER_REQUIRES(mu_);
  bool LoseNow(base::SteadyTime confirmed, bool can_ask) MUSTER_REQUIRES(mu_);
  void Believe(std::shared_ptr<const EndpointList> endpoints, Resolution::Empty why)
      MUSTER_REQUIRES(mu_);
  // True: some are still missing, and what Answer says changed.
  bool TakeWhileItRefills(EndpointList endpoints, Resolution::Empty why, base::SteadyTime now)
      MUSTER_REQUIRES(mu_);

  const Query query_;
  const Labels labels_;
  mutable base::Mutex mu_;
  mutable base::CondVar known_;
  std::shared_ptr<const EndpointList> endpoints_ MUSTER_GUARDED_BY(mu_);  // null: nothing is known
  Resolution::Empty empty_ MUSTER_GUARDED_BY(mu_) = Resolution::Empty::kNot;
  // Set: the endpoints aren't what the registry says now; when it last did.
  std::optional<base::SteadyTime> confirmed_ MUSTER_GUARDED_BY(mu_);
  bool primed_ MUSTER_GUARDED_BY(mu_) = false;  // they come from a snapshot
  bool lost_ MUSTER_GUARDED_BY(mu_) = false;    // since the registry last spoke
  // Of an empty answer that doesn't count yet.
  struct Doubt {
    Resolution::Empty empty;
    base::SteadyTime until;
  };
  std::optional<Doubt> doubt_ MUSTER_GUARDED_BY(mu_);
  // While a registry with a new store fills up.
  struct Refill {
    std::shared_ptr<const EndpointList> before;  // what the former store had
    std::shared_ptr<const EndpointList> has;     // what this one has
    Resolution::Empty empty;
    base::SteadyTime until;
    bool lost = false;  // since this one last spoke
  };
  std::optional<Refill> refill_ MUSTER_GUARDED_BY(mu_);
  absl::Status refused_ MUSTER_GUARDED_BY(mu_);
};

}  // namespace muster::client

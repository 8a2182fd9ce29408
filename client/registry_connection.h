// The connection of a Client: follows what is asked for, and answers from that.
//
// A service is followed in the registry (feed), and looked up in DNS where that doesn't help, as
// options say; a name of DNS is looked up again whenever its TTL is over. Both are entries, which
// are let go when nobody asks for them any more.
//
// registry_connection.cc answers, on the threads of the application; registry_following.cc follows,
// on the scheduler's.
//
// Thread safety: all members. Listeners run on a thread of their own.
// Ownership: subscriptions and registrations keep it alive. May be destroyed by a callback.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/rng.h"
#include "client/fallback/dns.h"
#include "client/fallback/overrides.h"
#include "client/fallback/snapshot_keeper.h"
#include "client/feed.h"
#include "client/followed_service.h"
#include "client/lease/lease_transport.h"
#include "client/lease/registrar.h"
#include "client/listening.h"
#include "client/scheduler.h"
#include "client/watch_transport.h"
#include "muster/client/connection.h"
#include "muster/client/options.h"

namespace muster::client {

class RegistryConnection : public Connection,
                           public std::enable_shared_from_this<RegistryConnection>,
                           private Feed::Sink {
 public:
  // What it stands on; a test's where one is wanted. REQUIRES: the clock outlives it.
  struct Parts {
    const base::Clock& clock;
    std::unique_ptr<base::Rng> rng;
    // Called for what the library itself does, for the application's callbacks, for the snapshot,
    // and for the probes of each registration that has some. The name: at most 15 bytes.
    std::function<std::unique_ptr<Scheduler>(const std::string& name)> new_scheduler;
    std::unique_ptr<WatchTransport> watches;
    std::unique_ptr<LeaseTransport> leases;
    std::unique_ptr<DnsResolver> dns;  // null: DNS is never asked
    Overrides overrides = {};
    // Runs a task once whatever listeners chose from before is out of use. Null: at once.
    std::function<void(Scheduler::Task)> after_views = {};
  };
  static std::shared_ptr<RegistryConnection> Create(Options options, Parts parts);
  ~RegistryConnection() override;

  absl::StatusOr<Resolution> Resolve(const Target& target) override;
  absl::StatusOr<std::unique_ptr<Subscription>> Watch(const Target& target,
                                                      Listener listener) override;
  absl::StatusOr<std::unique_ptr<Registration>> Register(Instance instance,
                                                         RegisterOptions options) override;

  // Of services and names that are followed now.
  size_t followed() const;

 private:
  using ListeningPtr = std::shared_ptr<Listening<Resolution>>;
  struct Entry;
  using EntryPtr = std::shared_ptr<Entry>;
  struct Audience {
    ListeningPtr listening;
    Target target;                        // what it wants to hear of
    std::optional<Resolution> told = {};  // last
  };
  struct Entry {
    Entry(Query query, std::string the_key, base::SteadyTime now)
        : service(std::move(query)), key(std::move(the_key)), began(now) {}
    Entry(Address the_host, std::string the_key, base::SteadyTime now)
        : service({}, {Resolution::Source::kDns, Resolution::Source::kDns}),
          host(std::move(the_host)),
          key(std::move(the_key)),
          began(now) {}
    FollowedService service;
    const std::optional<Address> host;  // of a name of DNS
    const std::string key;
    const base::SteadyTime began;
    std::atomic<int64_t> asked_us{0};  // on the steady clock
    // The scheduler's.
    bool followed = false;
    Following::Id id = 0;          // of a service that is followed
    std::optional<v1::Ack> owed;   // the latest that the registry wants confirmed
    base::SteadyTime looked_up{};  // a name, with an answer
    std::vector<Audience> listeners;
    std::vector<std::weak_ptr<Entry>> dependents;  // services whose listeners hear of this name
  };
  class Held;
  // To the scheduler, for tasks that may outlive the connection.
  struct WayBack {
    base::Mutex mu;
    Scheduler* scheduler MUSTER_GUARDED_BY(mu) = nullptr;  // null: it is gone
  };

  RegistryConnection(Options options, Parts parts);

  // registry_connection.cc
  Target Overridden(const Target& target, bool* is) const;
  absl::StatusOr<Resolution> ResolveHere(const Target& target);
  // `goes_on`: whether to look elsewhere, too.
  // `patient`: waits for the registry even if it is known to be away and others may know.
  absl::StatusOr<Resolution> ResolveService(const Query& query, bool* goes_on,
                                            bool patient = false);
  std::string VariableOf(const Target& target) const;
  absl::StatusOr<Resolution> ResolveHost(const Address& host);
  // Of an answer, or none, with which the way goes on to DNS.
  bool GoesOn(const Resolution& answer) const;
  bool AsksDns(const Target& target) const;
  const Resolution* FixedAnswer(const Query& query) const;
  EntryPtr FindService(const Query& query, base::SteadyTime now);
  EntryPtr FindHost(const Address& host, base::SteadyTime now);
  void FollowSoon(const EntryPtr& entry, base::SteadyTime now) MUSTER_REQUIRES(mu_);
  absl::Status NoAnswer(const Query& query, const absl::Status& waited) const;

  // registry_following.cc
  void OnUpdate(const Following::Update& update, const EndpointSet& set) override;
  void OnLost(const absl::Status& why, const Failover::Next& next) override;
  void FollowNew();
  void Follow(const EntryPtr& entry);
  void LetGo(Entry& entry);
  void LookUp(const EntryPtr& entry);
  void OnLookedUp(const EntryPtr& entry, absl::StatusOr<DnsAnswer> answer);
  void Take(const EntryPtr& entry, EndpointList endpoints, Resolution::Empty why,
            bool new_store = false);
  // Says that nobody is given any more what is gone, once that is so.
  void Confirm(Entry& entry);
  static void EraseEnded(Entry& entry);
  void Listen(const EntryPtr& entry, Audience listener);
  void Tell(const EntryPtr& entry);
  void Tell(const Entry& entry, Audience& audience);
  // Sees to it that DNS is asked for those who listen, if it has to be.
  void FallBack(const EntryPtr& entry);
  std::optional<Resolution> AnswerFor(const Entry& entry, const Target& target);
  bool NeedsDns(const Entry& entry) const;
  bool IsIdle(Entry& entry, base::SteadyTime now) const;
  void LetGoOfIdle();
  std::vector<SavedService> Collect() const;

  const Options options_;
  const base::Clock& clock_;
  const std::unique_ptr<base::Rng> rng_;
  const std::function<std::unique_ptr<Scheduler>(const std::string& name)> new_scheduler_;
  // Nobody's code but the library's runs on it, so that no callback delays a heartbeat.
  const std::unique_ptr<Scheduler> scheduler_;
  const std::unique_ptr<Scheduler> callbacks_;
  const std::unique_ptr<WatchTransport> watches_;
  const std::unique_ptr<LeaseTransport> leases_;
  const Overrides overrides_;
  const std::function<void(Scheduler::Task)> after_views_;
  const std::shared_ptr<WayBack> way_back_ = std::make_shared<WayBack>();
  const std::map<std::string, Resolution> fixed_;  // Options::fallback_addresses
  std::unique_ptr<DnsResolver> dns_;               // may be null
  std::unique_ptr<Registrar> registrar_;           // the scheduler's
  std::unique_ptr<Feed> feed_;                     // as well
  std::map<Following::Id, EntryPtr> by_id_;        // as well
  std::unique_ptr<SnapshotKeeper> snapshot_;       // may be null
  std::atomic<bool> lost_now_{false};              // no registry speaks

  mutable base::Mutex mu_;
  absl::flat_hash_map<std::string, EntryPtr> entries_ MUSTER_GUARDED_BY(mu_);  // by key
  std::vector<EntryPtr> new_entries_ MUSTER_GUARDED_BY(mu_);                   // not followed yet
  absl::Status lost_ MUSTER_GUARDED_BY(mu_);
};

}  // namespace muster::client

// The connection of a Client to a registry: follows what is asked for, and answers from that.
//
// Thread safety: all members. What the feed tells runs on the scheduler; listeners run on another.
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
    // Called for what the library itself does, for the application's callbacks, and for the probes
    // of each registration that has some. The name: at most 15 bytes.
    std::function<std::unique_ptr<Scheduler>(const std::string& name)> new_scheduler;
    std::unique_ptr<WatchTransport> watches;
    std::unique_ptr<LeaseTransport> leases;
  };
  static std::shared_ptr<RegistryConnection> Create(Options options, Parts parts);
  ~RegistryConnection() override;

  absl::StatusOr<Resolution> Resolve(const Target& target) override;
  absl::StatusOr<std::unique_ptr<Subscription>> Watch(const Target& target,
                                                      Listener listener) override;
  absl::StatusOr<std::unique_ptr<Registration>> Register(Instance instance,
                                                         RegisterOptions options) override;

  // Of services that are followed now.
  size_t followed() const;

 private:
  class Held;
  struct Entry {
    Entry(Query query, base::SteadyTime now) : service(std::move(query)), began(now) {}
    FollowedService service;
    const base::SteadyTime began;
    std::atomic<int64_t> asked_us{0};  // on the steady clock
    // The scheduler's.
    std::optional<Following::Id> id;
    std::vector<std::shared_ptr<Listening<Resolution>>> listeners;
  };
  using EntryPtr = std::shared_ptr<Entry>;

  RegistryConnection(Options options, Parts parts);
  absl::StatusOr<Resolution> ResolveService(const Query& query);
  // Follows it from now on.
  EntryPtr Find(const Query& query, base::SteadyTime now);
  absl::Status NoAnswer(const Query& query, const absl::Status& waited) const;

  // The rest by the scheduler.
  void OnUpdate(const Following::Update& update, const EndpointSet& set) override;
  void OnLost(const absl::Status& why, bool refused) override;
  void Follow(const EntryPtr& entry);
  void Listen(const EntryPtr& entry, std::shared_ptr<Listening<Resolution>> listening);
  void Tell(const EntryPtr& entry);
  void SettleLater(const EntryPtr& entry, base::SteadyTime at);
  bool IsIdle(Entry& entry, base::SteadyTime now) const;
  void LetGoOfIdle();

  const Options options_;
  const base::Clock& clock_;
  const std::unique_ptr<base::Rng> rng_;
  const std::function<std::unique_ptr<Scheduler>(const std::string& name)> new_scheduler_;
  // Nobody's code but the library's runs on it, so that no callback delays a heartbeat.
  const std::unique_ptr<Scheduler> scheduler_;
  const std::unique_ptr<Scheduler> callbacks_;
  const std::unique_ptr<WatchTransport> watches_;
  const std::unique_ptr<LeaseTransport> leases_;
  std::unique_ptr<Registrar> registrar_;     // the scheduler's
  std::unique_ptr<Feed> feed_;               // as well
  std::map<Following::Id, EntryPtr> by_id_;  // as well

  mutable base::Mutex mu_;
  absl::flat_hash_map<std::string, EntryPtr> entries_ MUSTER_GUARDED_BY(mu_);  // by KeyOf
  absl::Status lost_ MUSTER_GUARDED_BY(mu_);
};

}  // namespace muster::client

// Registry's inside, for its own sources only: one change of one instance, and whose turn it is.
//
// Thread safety: a Write belongs to whoever has its turn; Turns may be called from any thread.
// Ownership: a Write is shared by its proposal and by the queue of its instance.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "base/mutex.h"
#include "server/core/instance_change.h"
#include "server/core/registry.h"

namespace muster::core {

// One change of one instance, tried again when the state that it was decided on has moved.
struct Registry::Write {
  enum class Kind { kRegister, kDeregister, kReport, kExpire };
  Kind kind = Kind::kRegister;
  std::string key;
  storage::InstanceKey names;
  storage::WriteClass write_class = storage::WriteClass::kUser;
  int attempts = 0;
  bool creating = false;  // counted in creating_

  Registration registration;                                // kRegister
  std::shared_ptr<const ServiceInfo> service;               // kRegister; null: not known
  uint64_t incarnation = 0;                                 // kDeregister
  std::unique_ptr<const v1::ReportHealthRequest> report{};  // kReport
  LeasePtr lease;                                           // kExpire

  // What the present attempt proposed.
  Change change;

  // An expiry doesn't: its lease is expiring already, and whatever comes first decides.
  bool waits_its_turn() const { return kind != Kind::kExpire; }
  std::string_view service_key() const { return storage::ServiceKeyOf(key); }

  struct Outcome {
    uint64_t seq = 0;
    uint64_t incarnation = 0;
    bool changed = false;
  };
  std::function<void(absl::StatusOr<Outcome>)> done;
};

// Writes of one instance go one after another, so that each is decided on what the one before led
// to.
class Registry::Turns {
 public:
  // True: it is the write's turn. False: it waits until Leave hands it out.
  bool Enter(const std::shared_ptr<Write>& write) {
    Shard& shard = ShardOf(write->key);
    base::MutexLock lock(shard.mu);
    const auto [it, first] = shard.queues.try_emplace(write->key);
    if (!first) it->second.push_back(write);
    return first;
  }
  // Ends a turn. Whose turn it is now; null: nobody waits.
  std::shared_ptr<Write> Leave(const std::string& key) {
    Shard& shard = ShardOf(key);
    base::MutexLock lock(shard.mu);
    const auto it = shard.queues.find(key);
    if (it->second.empty()) {
      shard.queues.erase(it);
      return nullptr;
    }
    std::shared_ptr<Write> next = std::move(it->second.front());
    it->second.pop_front();
    return next;
  }

  // A write of it has an unknown outcome: until the server starts again, what is applied may not be
  // what is stored.
  void MarkUncertain(const std::string& key) {
    base::MutexLock lock(uncertain_mu_);
    uncertain_.insert(key);
    any_uncertain_.store(true);
  }
  bool IsUncertain(const std::string& key) {
    if (!any_uncertain_.load()) return false;
    base::MutexLock lock(uncertain_mu_);
    return uncertain_.contains(key);
  }

 private:
  struct Shard {
    base::Mutex mu;
    // By key, while somebody has the turn: who waits.
    absl::flat_hash_map<std::string, std::list<std::shared_ptr<Write>>> queues
        MUSTER_GUARDED_BY(mu);
  };
  Shard& ShardOf(const std::string& key) { return shards_[absl::HashOf(key) >> 58]; }
  std::array<Shard, 64> shards_;
  std::atomic<bool> any_uncertain_{false};
  base::Mutex uncertain_mu_;
  absl::flat_hash_set<std::string> uncertain_ MUSTER_GUARDED_BY(uncertain_mu_);
};

}  // namespace muster::core

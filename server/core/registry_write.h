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

#include "absl/container/flat_hash_set.h"
#include "base/hashed_key.h"
#include "base/mutex.h"
#include "server/core/instance_change.h"
#include "server/core/maintenance_change.h"
#include "server/core/registry.h"

namespace muster::core {

// What a service's settings become.
struct NewSettings {
  std::string display;   // the service, as given
  SettingsPtr settings;  // null: none
};

// One change of one instance, tried again when the state that it was decided on has moved.
struct Registry::Write {
  enum class Kind { kRegister, kDeregister, kEdit, kExpire, kDrain, kMarking, kState, kSettings };
  Kind kind = Kind::kRegister;
  storage::InstanceKey names;  // not of kExpire
  std::string key;             // of names
  size_t key_hash = 0;         // of key; not of kExpire
  storage::WriteClass write_class = storage::WriteClass::kUser;
  int attempts = 0;
  bool creating = false;  // counted in creating_

  Registration registration;                      // kRegister
  bool ttl_given = false;                         // kRegister
  Catalog::Standing service;                      // kRegister
  uint64_t incarnation = 0;                       // kDeregister, kEdit, kDrain; 0 = whichever
  Edit edit;                                      // kEdit
  LeasePtr lease;                                 // kExpire
  Drained drained;                                // kDrain: of the present attempt
  std::unique_ptr<const Marking> marking{};       // kMarking
  std::unique_ptr<const NewSettings> settings{};  // kSettings

  // What the present attempt proposed.
  Change change;

  // Of Turns: who waits for the end of this write's turn.
  std::list<std::shared_ptr<Write>> waiting;

  void SetNames(storage::InstanceKey to) {
    names = std::move(to);
    key = storage::EncodeInstanceKey(names);
    key_hash = base::HashedKey(key).hash;
  }
  base::HashedKey hashed_key() const { return {key, key_hash}; }

  // An expiry doesn't: its lease is expiring already, and whatever comes first decides.
  bool waits_its_turn() const { return kind != Kind::kExpire; }
  bool is_operators() const {
    return kind == Kind::kMarking || kind == Kind::kState || kind == Kind::kSettings;
  }
  std::string_view service_key() const { return storage::ServiceKeyOf(key); }

  RegisterDone registered;                            // kRegister
  std::function<void(absl::StatusOr<Outcome>)> done;  // the others
};

// Writes of one instance go one after another, so that each is decided on what the one before led
// to.
class Registry::Turns {
 public:
  // True: it is the write's turn. False: it waits until Leave hands it out.
  bool Enter(const std::shared_ptr<Write>& write) {
    Shard& shard = ShardOf(*write);
    base::MutexLock lock(shard.mu);
    const auto [it, first] = shard.at_turn.insert(write.get());
    if (!first) (*it)->waiting.push_back(write);
    return first;
  }
  // Ends the write's turn. Whose turn it is now; null: nobody waits.
  std::shared_ptr<Write> Leave(Write& write) {
    Shard& shard = ShardOf(write);
    base::MutexLock lock(shard.mu);
    shard.at_turn.erase(&write);
    if (write.waiting.empty()) return nullptr;
    std::shared_ptr<Write> next = std::move(write.waiting.front());
    write.waiting.pop_front();
    next->waiting = std::move(write.waiting);
    shard.at_turn.insert(next.get());
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
  struct KeyHash {
    size_t operator()(const Write* write) const { return write->key_hash; }
  };
  struct KeyEq {
    bool operator()(const Write* a, const Write* b) const { return a->key == b->key; }
  };
  struct Shard {
    base::Mutex mu;
    // At most one for each key: until Leave, its proposal owns it.
    absl::flat_hash_set<Write*, KeyHash, KeyEq> at_turn MUSTER_GUARDED_BY(mu);
  };
  // The top bits: the sets in the shards use the others.
  Shard& ShardOf(const Write& write) { return shards_[write.key_hash >> 58]; }
  std::array<Shard, 64> shards_;
  std::atomic<bool> any_uncertain_{false};
  base::Mutex uncertain_mu_;
  absl::flat_hash_set<std::string> uncertain_ MUSTER_GUARDED_BY(uncertain_mu_);
};

}  // namespace muster::core

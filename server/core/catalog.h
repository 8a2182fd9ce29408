// Catalog: service name -> present view. Written by the strand (Applier), read by anyone.
//
// Thread safety: Get and List from any thread; the members marked [strand] from the strand only.
// Cost: Get is one hash look-up under a shard's lock, whatever the number of services; ViewByKey
// and StandingOf also ask for the memory of the view and its first endpoints, so that the waits for
// it overlap; from 10,000 services on at once, by 4 MiB of hints where they stand. The strand looks
// without locks, since nobody else changes what is known. Revision and counts are atomic loads.
// Publishing a known service takes its shard's lock only.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_set.h"
#include "base/hashed_key.h"
#include "base/huge_pages.h"
#include "base/mutex.h"
#include "server/core/maintenance_set.h"
#include "server/core/service_settings.h"
#include "server/core/service_view.h"
#include "storage/engine.h"

namespace muster::core {

class CatalogHints;

// What its record says of a service.
struct ServiceIdentity {
  uint64_t mod_seq = 0;  // of the record
  uint64_t created_at_ms = 0;
  std::string ns;        // lower case
  std::string service;   // lower case
  std::string display;   // as first given
  SettingsPtr settings;  // null: none
};

// One known service at a moment. Neither is null.
struct ServiceInfo {
  std::shared_ptr<const ServiceIdentity> identity;
  std::shared_ptr<const ServiceView> view;
};

// A name that was added or removed.
struct NameChange {
  std::string ns;
  std::string display;
  bool added = false;
};

class Catalog {
 public:
  Catalog();
  ~Catalog();

  // Nothing when the service isn't known. Names in lower case.
  std::optional<ServiceInfo> Get(std::string_view ns, std::string_view service) const;

  // The same by storage::EncodeServiceKey.
  std::optional<ServiceInfo> GetByKey(std::string_view service_key) const;
  // Its view; null when the service isn't known. For those that read the endpoints at once.
  std::shared_ptr<const ServiceView> ViewByKey(std::string_view service_key) const;

  // What is to be known of a service before an instance of it is written.
  struct Standing {
    bool known = false;
    bool has_instances = false;
    bool has_tombstones = false;
    std::string display;  // as first given; empty: as `spelling` of StandingOf
    absl::Duration default_ttl = absl::ZeroDuration();  // of its settings; zero: none
  };
  // For those that make the strand change the endpoints next: asks for them as ViewByKey does.
  Standing StandingOf(std::string_view service_key, std::string_view spelling) const;

  // Null when the service isn't known, or nothing was set.
  SettingsPtr SettingsOf(std::string_view service_key) const;
  uint64_t settings_count() const { return settings_.load(std::memory_order_relaxed); }

  // What operators took out of the answers. The strand fills it.
  MaintenanceSet& maintenance() { return maintenance_; }
  const MaintenanceSet& maintenance() const { return maintenance_; }

  // Known services in order, from the first whose (ns, service) is greater than `after` (a service
  // key of storage/schema.h; "" = from the beginning), until `visit` returns false. ns "*" = all.
  // Returns where the log of name changes stood: NameChangesSince goes on from there.
  uint64_t List(std::string_view ns, std::string_view prefix, std::string_view after,
                const std::function<bool(const ServiceInfo&)>& visit) const;

  // Keys (storage/schema.h) of those that upkeep looks at: with deletions, or without instances and
  // settings. In order, the first `max` that are greater than `after`. Cost: theirs, whatever the
  // number of services.
  std::vector<std::string> ListUpkeep(std::string_view after, size_t max) const;

  // The last change of each name since `position` of this catalog, and the position to go on from;
  // nothing when that is no longer known in full.
  std::optional<uint64_t> NameChangesSince(uint64_t position, std::vector<NameChange>& out) const;

  // What has been applied.
  storage::Revision revision() const;
  uint64_t service_count() const { return services_.load(std::memory_order_relaxed); }
  uint64_t instance_count() const { return instances_.load(std::memory_order_relaxed); }
  uint64_t tombstone_count() const { return tombstones_.load(std::memory_order_relaxed); }

  // Seq of the last time that a service was forgotten; 0 = never.
  uint64_t forgotten_seq() const { return forgotten_seq_.load(std::memory_order_acquire); }

  // Calls `done` once `seq` has been applied: at once, or later on the strand (so `done` must only
  // enqueue). Returns an id for CancelWait; 0 = already called. Cost of both: logarithmic in how
  // many wait.
  uint64_t WaitApplied(uint64_t seq, std::function<void()> done);
  // `seq`: that of the wait. Nothing happens when it is over.
  void CancelWait(uint64_t seq, uint64_t id);

  // One known service.
  struct Slot;
  // [strand] Null: not known. It stays until the service is forgotten.
  Slot* FindSlot(const base::HashedKey& service_key);
  // [strand] A number that the strand keeps with it, 0 at first.
  static uint32_t& MarkOf(Slot& slot);
  // [strand] Of its record; 0 = not known.
  uint64_t AppliedModSeq(const base::HashedKey& service_key) const;
  // [strand]
  static const std::shared_ptr<const ServiceIdentity>& IdentityOf(const Slot& slot);
  static const std::shared_ptr<const ServiceView>& ViewOf(const Slot& slot);
  // storage::EncodeServiceKey. As long as the slot.
  static std::string_view KeyOf(const Slot& slot);

  // [strand] Stores a new state of a service. The first: of one that is known, without looking for
  // it; an identity of null stays as it is.
  void Publish(Slot& slot, ServiceInfo info);
  void Publish(ServiceInfo info);
  // [strand] Forgets a service.
  void Forget(std::string_view service_key);
  // [strand] Name changes until now are no longer known (after replay).
  void ResetNameChanges();
  // [strand]
  void SetForgottenSeq(uint64_t seq) { forgotten_seq_.store(seq, std::memory_order_release); }
  // [strand] Sets what has been applied and calls the waiters.
  void SetRevision(storage::Revision revision);

 private:
  static constexpr size_t kShards = 64;
  struct Shard;
  struct SlotDelete {
    void operator()(Slot* slot) const;
  };
  using SlotPtr = std::unique_ptr<Slot, SlotDelete>;
  struct SlotHash {
    using is_transparent = void;
    size_t operator()(const base::HashedKey& key) const { return key.hash; }
    size_t operator()(const SlotPtr& slot) const;
  };
  struct SlotEq {
    using is_transparent = void;
    bool operator()(const SlotPtr& a, const SlotPtr& b) const;
    bool operator()(const SlotPtr& a, const base::HashedKey& b) const;
  };
  struct Shard {
    Shard();
    ~Shard();
    mutable base::Mutex mu;
    absl::flat_hash_set<SlotPtr, SlotHash, SlotEq, base::KeptAllocator<SlotPtr>> services
        MUSTER_GUARDED_BY(mu);
  };
  Shard& ShardOf(const base::HashedKey& key) const;
  // What `found` says of the slot, under its shard's lock; zero or null when there is none.
  template <typename F>
  auto With(std::string_view key, F found) const;
  void Add(std::string_view key, ServiceInfo info);
  // [strand]
  void SetHint(const Slot& slot);
  void Count(const ServiceView* before, const ServiceView* after);
  void CountSettings(bool before, bool after);
  // [strand] Whether the slot is one for upkeep.
  void NoteUpkeep(const Slot& slot);
  void AddNameChange(NameChange change) MUSTER_REQUIRES(names_mu_);

  mutable std::array<Shard, kShards> shards_;
  // Of very many services: where what is looked for stands, to ask for it early. Null until then;
  // made, and written, by the strand.
  std::atomic<const CatalogHints*> hints_{nullptr};
  std::unique_ptr<CatalogHints> own_hints_;

  mutable base::Mutex names_mu_;  // before a shard's mu
  // All slots in the order of their keys, which live in them.
  absl::btree_map<std::string_view, const Slot*> names_ MUSTER_GUARDED_BY(names_mu_);
  // The last of them. They come in no order of seqs, and before the revision moves: who follows
  // them counts changes, not seqs.
  std::vector<NameChange> name_changes_ MUSTER_GUARDED_BY(names_mu_);
  uint64_t name_changes_before_ MUSTER_GUARDED_BY(names_mu_) = 0;  // position of the first

  mutable base::Mutex upkeep_mu_;  // after names_mu_
  // The keys live in their slots.
  absl::btree_set<std::string_view> upkeep_ MUSTER_GUARDED_BY(upkeep_mu_);

  MaintenanceSet maintenance_;
  std::atomic<uint64_t> settings_{0};  // services that have some
  std::atomic<uint64_t> services_{0};
  std::atomic<uint64_t> instances_{0};
  std::atomic<uint64_t> tombstones_{0};
  std::atomic<uint64_t> forgotten_seq_{0};
  // The epoch is set before calls are served, and constant from then on.
  std::atomic<uint64_t> epoch_{0};
  std::atomic<uint64_t> seq_{0};
  mutable base::Mutex revision_mu_;
  absl::btree_map<std::pair<uint64_t, uint64_t>, std::function<void()>> waiters_
      MUSTER_GUARDED_BY(revision_mu_);
  uint64_t next_wait_id_ MUSTER_GUARDED_BY(revision_mu_) = 1;
};

}  // namespace muster::core

// HeldSet: which overdue endpoints are kept in the answers, since when and why. An overlay, not
// state: no commit, no revision, outside the checksum, gone with the process.
//
//   held.Hold(lease_key, HoldReason::kStorageReadOnly);   // by whoever does not remove it
//   held.Refresh();                                       // every 100 ms
//   if (const auto service = held.Of(service_key)) … service->Find(node, id) …
//
// An endpoint is held while it has a reason and its lease is overdue: Refresh lets go of those that
// were renewed, removed or replaced, whoever held them.
//
// Thread safety: all members; Refresh by one thread. Ownership: catalog, leases, hub and clock
// outlive it. Readers see what the last Refresh published.
// Cost: Of is one atomic load while nothing is held. Refresh looks at 4,096 held leases at most,
// and makes a service's picture anew at most every 20 us for each of its held endpoints.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "muster/v1/types.pb.h"
#include "server/core/catalog.h"
#include "server/core/lease_table.h"
#include "server/core/watch_hub.h"

namespace muster::core {

// Bits: an endpoint may have several. Numbers as of v1::Held::Reason.
enum class HoldReason : uint8_t { kStorageReadOnly = 1, kBrake = 2 };

struct HeldKey {
  std::string node;
  std::string id;
  friend auto operator<=>(const HeldKey&, const HeldKey&) = default;
};

// The held endpoints of one service in one zone. Immutable, never empty.
struct HeldZone {
  std::string zone;
  base::SystemTime since;     // of the first of them
  uint8_t reasons = 0;        // bits of HoldReason
  std::vector<HeldKey> keys;  // ascending
  uint64_t version = 0;       // another one whenever anything above changes
  // The same as encoded v1::Held messages of at most 512 KiB each, all but the last with `more`.
  std::vector<std::string> parts;

  bool Has(std::string_view node, std::string_view id) const;
  // All but the keys.
  v1::Held Head() const;
};

// Those of one service. Immutable; at least one zone, ascending.
struct HeldService {
  std::vector<std::shared_ptr<const HeldZone>> zones;

  // The zone in which the endpoint is held; null when it isn't.
  const HeldZone* Find(std::string_view node, std::string_view id) const;
};

class HeldSet {
 public:
  HeldSet(const Catalog& catalog, const LeaseTable& leases, WatchHub& hub, const base::Clock& clock)
      : catalog_(catalog), leases_(leases), hub_(hub), clock_(clock) {}

  // Adds a reason. `instance_key` as in storage::EncodeInstanceKey.
  void Hold(std::string_view instance_key, HoldReason reason);
  // Takes a reason away; without one the endpoint is let go.
  void Release(std::string_view instance_key, HoldReason reason);

  // Lets go of leases that are no longer overdue, publishes what changed and wakes its watchers.
  void Refresh();

  // Endpoints held now, published or not.
  uint64_t size() const { return size_.load(std::memory_order_relaxed); }
  // Is anything published?
  bool any() const { return any_.load(std::memory_order_acquire); }
  // Null: none of the service is held. `service_key` as in storage::EncodeServiceKey.
  std::shared_ptr<const HeldService> Of(std::string_view service_key) const {
    return any() ? Look(service_key) : nullptr;
  }
  // Services in order, until `visit` returns false.
  void List(
      const std::function<bool(std::string_view service_key, const HeldService&)>& visit) const;

 private:
  struct Entry {
    std::string zone;
    base::SystemTime since;
    uint8_t reasons = 0;
  };
  struct Dirty {
    base::SteadyTime not_before;
    bool dirty = false;
  };

  std::shared_ptr<const HeldService> Look(std::string_view service_key) const;
  std::string ZoneOf(std::string_view instance_key) const;
  void Review() MUSTER_REQUIRES(mu_);
  void MarkDirty(std::string_view instance_key) MUSTER_REQUIRES(mu_);
  // Null: nothing is held any more. Zones that are as in `old` are shared with it.
  std::shared_ptr<const HeldService> Build(std::string_view service_key, const HeldService* old)
      MUSTER_REQUIRES(mu_);
  void Publish(const std::string& service_key, std::shared_ptr<const HeldService> service);

  const Catalog& catalog_;
  const LeaseTable& leases_;
  WatchHub& hub_;
  const base::Clock& clock_;

  std::atomic<uint64_t> size_{0};
  std::atomic<bool> any_{false};  // published_ is not empty

  base::Mutex mu_;  // before published_mu_
  // By instance key: those of a service stand together.
  absl::btree_map<std::string, Entry> entries_ MUSTER_GUARDED_BY(mu_);
  // Services with held endpoints, or that had some when last published.
  absl::flat_hash_map<std::string, Dirty> services_ MUSTER_GUARDED_BY(mu_);
  std::string reviewed_ MUSTER_GUARDED_BY(mu_);  // the last key that Review looked at
  uint64_t last_version_ MUSTER_GUARDED_BY(mu_) = 0;

  mutable base::Mutex published_mu_;
  absl::btree_map<std::string, std::shared_ptr<const HeldService>> published_
      MUSTER_GUARDED_BY(published_mu_);
};

}  // namespace muster::core

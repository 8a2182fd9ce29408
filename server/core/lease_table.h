// LeaseTable: one lease for each instance (permanent ones included), renewed without disk or
// strand.
//
// Each lease has one atomic word {deadline, live | expiring}. A heartbeat stores a deadline; expiry
// takes live -> expiring by compare-and-swap before the removal is proposed, so a heartbeat either
// renews or learns that it lost. A lease that was replaced or erased stays `expiring` for ever, so
// nobody renews it by accident. Membership belongs to the strand.
//
// Time is lease time: the steady clock less all gaps. When the ticker was not called for over a
// second (stopped process, paused machine), the gap does not count, so nobody expires for it. Until
// the next tick lease time runs on for a second at most, and may step back by less at that tick.
//
// Thread safety: all members; those marked [strand] change membership. Units: microseconds.
// Cost: Renew is one look-up under a shard's lock and one store; RenewHandles overlaps the waits
// for memory of the leases that it is given. A lease takes 80 bytes and its key in one block, and
// about 70 in the indexes.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/hashed_key.h"
#include "base/huge_pages.h"
#include "base/mutex.h"
#include "base/rng.h"
#include "server/core/lease.h"
#include "server/core/timer_wheel.h"

namespace muster::core {

enum class RenewOutcome { kRenewed, kUnknown, kStale, kLoading };

struct Renewal {
  RenewOutcome outcome = RenewOutcome::kUnknown;
  absl::Duration remaining = absl::ZeroDuration();  // zero for permanent
};

class LeaseTable {
 public:
  struct Options {
    double restart_spread = 0.5;  // share of the TTL
  };
  LeaseTable(const base::Clock& clock, base::Rng& rng, Options options);

  // Renews. incarnation 0 = whichever. A lower one than the present: kStale; a higher: kUnknown.
  Renewal Renew(std::string_view key, uint64_t incarnation);
  Renewal RenewHandle(uint64_t handle);
  // As RenewHandle of each, with one reading of the clock. REQUIRES: equal sizes.
  void RenewHandles(absl::Span<const uint64_t> handles, absl::Span<Renewal> renewals);
  // For a registration that changed nothing; false when the lease is expiring.
  bool Renew(const Lease& lease);

  LeasePtr Find(const base::HashedKey& key) const;
  LeasePtr Find(std::string_view key) const { return Find(base::HashedKey(key)); }
  // Of the lease's last commit; 0 = there is none.
  uint64_t ModSeqOf(std::string_view key) const;
  absl::Duration Remaining(const Lease& lease) const;
  // There is such a lease, and its deadline is over: its removal is under way, or waits.
  bool IsOverdue(std::string_view key) const;
  // In lease time, to order leases by: a lease that nobody renews keeps it. 0 = permanent, or not
  // started yet.
  static int64_t DeadlineUs(const Lease& lease);
  // Lease time.
  int64_t NowUs() const { return Now(); }
  // At lease time `now_us`: it wasn't heard of for more than half of its TTL. Never a permanent
  // one, nor one that a restart has just begun anew.
  static bool IsSilent(const Lease& lease, int64_t now_us);
  // The handle is that of a present lease, which still has this deadline.
  bool HasDeadline(uint64_t handle, int64_t deadline_us) const;
  // All leases, in no order, a part of the table locked at a time. Cost: some 20 ns each.
  void ForEach(absl::FunctionRef<void(const Lease&)> visit) const;

  // [strand] As ModSeqOf.
  uint64_t AppliedModSeq(const base::HashedKey& key) const;
  // [strand] Inserts or replaces. Starts a full TTL; but a commit that leaves incarnation, digest
  // and TTL as they were (a change of health, which is no sign of life) leaves the deadline too: an
  // overdue lease falls due again.
  void Put(const LeaseSpec& spec);
  void Erase(std::string_view key);
  // [strand, replay] As Put of a new key, with the full TTL from SetLoaded on plus a random share
  // of it. REQUIRES: before SetLoaded.
  void Restore(const LeaseSpec& spec);

  // While loading, renewals are answered kLoading. SetLoaded starts the restored leases.
  void SetLoaded();

  // Every 100 ms or so by one thread: notices gaps.
  void Tick();
  // Leases that fell due, at most `max`, the longest overdue first: each is now expiring.
  std::vector<LeasePtr> TakeExpired(size_t max);
  // The same, but asks of each whether it may go. Nothing: it may. Otherwise it stays overdue, was
  // never expiring, and is asked about again after that time.
  using MayGo = absl::FunctionRef<std::optional<absl::Duration>(const Lease& lease)>;
  struct Due {
    std::vector<LeasePtr> expired;
    size_t kept = 0;
  };
  Due TakeExpired(size_t max, MayGo may_go);
  // How many the last TakeExpired left. Some may have been renewed or erased since they fell due.
  size_t due() const;
  // The removal of an expiring lease failed: live again, as overdue as before, and taken again
  // after `delay`. Nothing happens when the lease was replaced or erased since.
  void GiveBack(const Lease& lease, absl::Duration delay);

  // All leases (a copy of pointers), in no order.
  std::vector<LeasePtr> All() const;
  uint64_t size() const;

 private:
  static constexpr size_t kShards = 64;
  struct KeyHash {
    using is_transparent = void;
    size_t operator()(const base::HashedKey& key) const { return key.hash; }
    size_t operator()(const LeasePtr& lease) const { return base::HashedKey(lease->key()).hash; }
  };
  struct KeyEq {
    using is_transparent = void;
    bool operator()(const LeasePtr& a, const LeasePtr& b) const { return a->key() == b->key(); }
    bool operator()(const LeasePtr& a, const base::HashedKey& b) const {
      return a->key() == b.text;
    }
  };
  struct Shard {
    mutable base::Mutex mu;
    absl::flat_hash_set<LeasePtr, KeyHash, KeyEq, base::KeptAllocator<LeasePtr>> by_key
        MUSTER_GUARDED_BY(mu);
  };
  // Handles are given out in order. Eight that came together have one shard and stand together
  // there, so that a registration seldom waits for memory.
  static constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;
  static uint64_t MixOfEight(uint64_t handle) {
    const uint64_t mixed = (handle >> 3) * kGolden;
    return mixed ^ (mixed >> 32);
  }
  // The table looks for a place from where all but the lower seven bits say, 16 places at a time,
  // and tells them apart by the lower seven.
  struct HandleHash {
    size_t operator()(uint64_t handle) const {
      return (MixOfEight(handle) << 7) | ((handle * kGolden) >> 57);
    }
  };
  // A pointer stays here no longer than its lease stands in by_key, or is being taken out. Handles
  // of replaced lives point to the present lease, whose incarnation differs.
  struct HandleShard {
    mutable base::Mutex mu;
    absl::flat_hash_map<uint64_t, const Lease*, HandleHash, std::equal_to<uint64_t>,
                        base::KeptAllocator<std::pair<const uint64_t, const Lease*>>>
        by_handle MUSTER_GUARDED_BY(mu);
  };

  Shard& ShardOf(const base::HashedKey& key) const;
  HandleShard& HandleShardOf(uint64_t handle) const;
  int64_t Now() const;  // lease time
  Renewal RenewLease(const Lease& lease, int64_t now_us) const;
  Renewal RenewKey(std::string_view key, uint64_t incarnation, int64_t now_us);
  Renewal RenewByHandle(uint64_t handle, int64_t now_us);
  // Asks for the memory that RenewByHandle will read: first of the index, then of the lease.
  void PrefetchSlot(uint64_t handle) const;
  void PrefetchLease(uint64_t handle) const;
  void SetHandles(const Lease& lease);
  // Those that still point to `lease`.
  void DropHandles(const Lease& lease);
  // When the wheel has to look at a lease: a renewal may come at any time and mean now + TTL.
  int64_t LookAt(const Lease& lease, int64_t deadline_us) const;
  void File(const LeasePtr& lease, int64_t deadline_us);
  // Looks at a lease that the wheel handed out: it is overdue (true), or is filed again or dropped.
  bool IsDue(const LeasePtr& lease, int64_t now_us) MUSTER_REQUIRES(wheel_mu_);
  // Of an overdue one: makes it expiring (true), unless it was renewed meanwhile.
  bool Expire(const LeasePtr& lease, int64_t now_us) MUSTER_REQUIRES(wheel_mu_);

  const base::Clock& clock_;
  base::Rng& rng_;
  const Options options_;

  mutable std::array<Shard, kShards> shards_;
  mutable std::array<HandleShard, kShards> handles_;
  std::atomic<bool> loaded_{false};
  std::atomic<int64_t> gap_us_{0};
  std::atomic<int64_t> cap_us_{0};        // lease time does not pass it before the next tick
  std::atomic<int64_t> last_tick_us_{0};  // steady
  std::atomic<uint64_t> size_{0};

  mutable base::Mutex wheel_mu_;  // after a shard's mu
  TimerWheel<LeasePtr> wheel_ MUSTER_GUARDED_BY(wheel_mu_);
  // Each live lease is filed once, in wheel_ or due_; one that was erased, until its turn comes.
  std::deque<LeasePtr> due_ MUSTER_GUARDED_BY(wheel_mu_);
};

}  // namespace muster::core

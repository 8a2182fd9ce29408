// ExpiryBrake: guards against the registry itself being cut off. Where too many leases of a group
// fell silent at once, those that are overdue are held, and leave slowly. Pure: time and counts
// come in, verdicts go out.
//
//   const BrakeGroup* own = brake.GroupOf(lease);          // a held one stays with its group
//   const Verdict verdict = brake.Judge(now, lease, group, silence_of_group, share);
//
// A hold belongs to a group. It begins with its first held lease; for `hold` nobody of it leaves,
// then every `release_interval` the longest overdue do: `release_share` of the most that were held
// at once since the first left, at least one, rounded up. So each is gone after at most
// ceil(1 / release_share) releases. Who falls due later joins the hold as it stands. Once no more
// than the share of the group is silent, those that are left may go when they are judged next. The
// hold is over when nobody of it is overdue any more; a later one begins anew.
//
// Thread safety: none. Units: microseconds of one clock that never goes back by much (lease time).
// Cost: Judge is logarithmic in the size of the hold, and a release linear in how many leave. About
// 100 bytes for each held lease.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/time/time.h"

namespace muster::core {

struct BrakeOptions {
  double share = 0;  // of silent leases, above which overdue ones are held; 0 = off
  size_t min_leases = 5;
  absl::Duration hold = absl::Seconds(60);
  double release_share = 0.15;
  absl::Duration release_interval = absl::Seconds(10);
};

// What is judged together: a service's leases in a zone, all leases of a zone, or all.
struct BrakeGroup {
  enum class Level : uint8_t { kService, kZone, kServer };
  Level level = Level::kServer;
  std::string service_key;  // storage::EncodeServiceKey; of kService only
  uint32_t zone = 0;        // ZoneTag; not of kServer

  friend bool operator==(const BrakeGroup&, const BrakeGroup&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const BrakeGroup& group) {
    return H::combine(std::move(h), group.level, group.service_key, group.zone);
  }
};

// Leases of a group that could fall due.
struct Silence {
  uint64_t leases = 0;
  uint64_t silent = 0;
  friend bool operator==(const Silence&, const Silence&) = default;
};

// More than `share` of them are silent.
bool TooSilent(const Silence& silence, double share);

struct OverdueLease {
  uint64_t handle = 0;
  int64_t deadline_us = 0;  // another one: it was renewed since
};

struct BrakeEvent {
  enum class Kind : uint8_t { kHolds, kReleases, kEnds };
  Kind kind = Kind::kHolds;
  BrakeGroup group;
  uint64_t held = 0;
  Silence silence;   // as judged last
  double share = 0;  // that it was compared with
};

class ExpiryBrake {
 public:
  explicit ExpiryBrake(const BrakeOptions& options) : options_(options) {}

  struct Verdict {
    bool hold = false;
    bool is_new = false;         // it wasn't held before
    absl::Duration judge_again;  // when it is held: after this time
  };

  // The group whose hold the lease belongs to; null: to none.
  const BrakeGroup* GroupOf(const OverdueLease& lease) const;

  // May it be removed? `group`: GroupOf, or else the smallest of its groups that has at least
  // min_leases; `silence`: the group's now.
  Verdict Judge(int64_t now_us, const OverdueLease& lease, const BrakeGroup& group,
                const Silence& silence, double share);
  // The lease may be removed, whatever its group.
  void Release(const OverdueLease& lease);

  // Looks at `max` leases of holds, in turn, and forgets those that are gone: not `overdue` any
  // more. Everybody who was held is forgotten here only.
  void Review(size_t max, absl::FunctionRef<bool(const OverdueLease&)> overdue);

  // Leases that are held now, and the holds that there are.
  size_t held() const { return held_; }
  size_t groups() const { return holds_.size(); }
  // What happened since this was last asked.
  std::vector<BrakeEvent> TakeEvents() { return std::exchange(events_, {}); }

 private:
  using Place = std::pair<int64_t, uint64_t>;  // deadline, handle: the longest overdue first
  struct Hold {
    BrakeGroup group;
    absl::btree_set<Place> waiting;
    size_t leaving = 0;   // may be removed; some of them are
    int64_t next_us = 0;  // when the next leave
    bool releases = false;
    size_t most = 0;  // waiting at once, since it releases
    Silence silence;
    double share = 0;
  };
  struct Member {
    Hold* hold = nullptr;  // null: of none any more
    int64_t deadline_us = 0;
    bool leaving = false;
  };

  Hold& HoldOf(int64_t now_us, const BrakeGroup& group, const Silence& silence, double share);
  // Lets some go, when it is time.
  void Advance(Hold& hold, int64_t now_us);
  void LetGo(Hold& hold, size_t count);
  void SetLeaving(Member& member, uint64_t handle);
  // Takes it out of its hold, which may end.
  void Part(Member& member, uint64_t handle);
  void Report(BrakeEvent::Kind kind, const Hold& hold);
  absl::Duration JudgeAgain(const Hold& hold, int64_t now_us) const;

  const BrakeOptions options_;
  absl::flat_hash_map<BrakeGroup, std::unique_ptr<Hold>> holds_;
  absl::flat_hash_map<uint64_t, Member> members_;  // by handle
  std::deque<uint64_t> to_review_;                 // each member once
  size_t held_ = 0;
  std::vector<BrakeEvent> events_;
};

}  // namespace muster::core

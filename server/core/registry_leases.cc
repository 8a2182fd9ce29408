// The Registry's leases: renewals, and the removal of what fell due.
#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "server/core/registry.h"
#include "server/core/registry_write.h"

namespace muster::core {
namespace {

using absl::StatusCode;
using base::MakeError;
using base::Reason;

// However many leases fall due at once, they leave in turns: user writes go in between, and wait
// for a group of so many. A herd leaves at an even pace, so that others have the processors and the
// disk, too: that of the least, or what they need to be gone in time, counted from when the most of
// them were due; a herd that comes into another one gets time of its own. Where a group takes long,
// the next turn makes up for a few milliseconds only, or it would be the next that takes long; what
// is lost beyond that is spread over the time that is left.
constexpr size_t kTurn = 40;
constexpr size_t kLongestTurn = 512;
constexpr absl::Duration kMadeUp = absl::Milliseconds(3);
constexpr double kLeastPace = 20'000;  // a second
constexpr absl::Duration kTimeForAll = absl::Milliseconds(1500);
constexpr absl::Duration kLeastTime = absl::Milliseconds(100);
constexpr absl::Duration kRemovalRetry = absl::Seconds(1);
constexpr absl::Duration kMaxRemovalRetry = absl::Seconds(60);
constexpr absl::Duration kRetryForEachHeld = absl::Microseconds(100);
// Judging whom the brake keeps takes a few microseconds each; others wait for the thread.
constexpr size_t kMostKept = 1024;

// For all, and not for what was to be removed only.
bool StoreRefuses(std::optional<Reason> reason) {
  return reason == Reason::kStorageReadOnly || reason == Reason::kStorageFull ||
         reason == Reason::kOutcomeUnknown;
}

}  // namespace

absl::StatusOr<v1::HeartbeatResponse> Registry::Heartbeat(const v1::HeartbeatRequest& request) {
  const int count = request.lease_handles_size() + request.leases_size();
  if (count > kMaxHeartbeats) {
    return base::WithField(MakeError(StatusCode::kInvalidArgument, Reason::kLimitBatch,
                                     absl::StrCat("lease_handles and leases have ", count,
                                                  " items; at most ", kMaxHeartbeats)),
                           "lease_handles");
  }
  v1::HeartbeatResponse out;
  out.set_sequence(request.sequence());
  out.mutable_outcomes()->Reserve(count);
  out.mutable_remaining_ms()->Reserve(count);
  const auto add = [&out](const Renewal& renewal) {
    using R = v1::HeartbeatResponse;
    static constexpr R::Outcome kOutcomes[] = {R::RENEWED, R::UNKNOWN, R::STALE, R::LOADING};
    out.add_outcomes(kOutcomes[static_cast<int>(renewal.outcome)]);
    // Leases of more than 49 days do not fit.
    out.add_remaining_ms(static_cast<uint32_t>(std::min<int64_t>(
        absl::ToInt64Milliseconds(renewal.remaining), std::numeric_limits<uint32_t>::max())));
  };
  std::vector<Renewal> renewals(static_cast<size_t>(request.lease_handles_size()));
  leases_.RenewHandles(request.lease_handles(), absl::MakeSpan(renewals));
  for (const Renewal& renewal : renewals) add(renewal);
  for (int i = 0; i < request.leases_size(); ++i) {
    auto key = NormalKey(request.leases(i).key(), "leases.key");
    if (!key.ok()) return key.status();
    add(leases_.Renew(storage::EncodeInstanceKey(*key), request.leases(i).incarnation()));
  }
  return out;
}

std::shared_ptr<Registry::Write> Registry::MakeRemoval(const LeasePtr& lease) {
  auto write = std::make_shared<Write>();
  write->kind = Write::Kind::kExpire;
  write->key = std::string(lease->key());
  write->write_class = storage::WriteClass::kInternal;
  write->lease = lease;
  ++removals_under_way_;
  write->done = [this, lease](const auto& outcome) {
    --removals_under_way_;
    Removed(*lease, outcome.status());
  };
  return write;
}

void Registry::Removed(const Lease& lease, const absl::Status& status) {
  if (status.ok()) {
    try_removal_at_us_ = 0;
    if (held_.size() > 0) held_.Release(lease.key(), HoldReason::kBrake);
    return;
  }
  const std::optional<Reason> reason = base::ReasonOf(status);
  if (reason == Reason::kQueueFull || reason == Reason::kClosed) {
    leases_.GiveBack(lease, kRemovalRetry);
    return;
  }
  if (StoreRefuses(reason)) {
    try_removal_at_us_ = (clock_.Steady() + kRemovalRetry).us;
    HoldOverdue(lease);
  } else {
    // Of its own; it isn't the one that tries for others again soon.
    held_.Hold(lease.key(), HoldReason::kStorageReadOnly);
    leases_.GiveBack(lease, kMaxRemovalRetry);
  }
  held_.Release(lease.key(), HoldReason::kBrake);  // it had let go of it
}

void Registry::HoldOverdue(const Lease& lease) {
  held_.Hold(lease.key(), HoldReason::kStorageReadOnly);
  // However many wait, the next try costs little.
  leases_.GiveBack(lease,
                   std::clamp(kRetryForEachHeld * held_.size(), kRemovalRetry, kMaxRemovalRetry));
}

size_t Registry::SizeOfTurn() {
  const base::SteadyTime now = clock_.Steady();
  const absl::Duration since = now - std::exchange(last_turn_, now);
  if (!herd_) {
    most_due_ = 0;
    return kTurn;
  }
  const size_t due = leases_.due();
  least_due_ = std::min(least_due_, due);
  if (due > most_due_ || due > 2 * least_due_ + kTurn) {
    most_due_ = least_due_ = due;
    herd_gone_by_ = now + kTimeForAll;
  }
  const absl::Duration left = std::max(herd_gone_by_ - now, kLeastTime);
  const double pace = std::max(kLeastPace, static_cast<double>(due) / absl::ToDoubleSeconds(left));
  const double wanted = pace * absl::ToDoubleSeconds(std::min(since, kMadeUp));
  return std::clamp(static_cast<size_t>(wanted), kTurn, kLongestTurn);
}

std::optional<absl::Duration> Registry::MayGo(const Lease& lease) {
  const auto kept_for = judge_.MayGo(lease);
  // It isn't the store any more that keeps it.
  if (kept_for) held_.Release(lease.key(), HoldReason::kStorageReadOnly);
  return kept_for;
}

size_t Registry::ExpireDue() {
  // Nearly all of the last turn are gone.
  if (removals_under_way_.load() > kTurn / 2) return 0;
  const size_t most = SizeOfTurn();
  // While the store takes nothing, the first that may go tries for all, and the others aren't
  // judged.
  const int64_t try_at_us = try_removal_at_us_.load();
  const bool refused = try_at_us != 0;
  bool judges = clock_.Steady().us >= try_at_us;
  const Lease* tries = nullptr;
  const LeaseTable::Due due =
      leases_.TakeExpired(most, [&](const Lease& lease) -> std::optional<absl::Duration> {
        if (!judges) return std::nullopt;
        const auto kept_for = MayGo(lease);
        if (refused && !kept_for) {
          tries = &lease;
          judges = false;
        }
        return kept_for;
      });
  judge_.Tend();
  herd_ = due.expired.size() + due.kept == most;
  Writes writes;
  for (const auto& lease : due.expired) {
    if (refused ? lease.get() != tries : try_removal_at_us_.load() != 0) {
      HoldOverdue(*lease);
      continue;
    }
    if (refused) try_removal_at_us_ = (clock_.Steady() + kRemovalRetry).us;
    writes.push_back(MakeRemoval(lease));
  }
  BeginMany(std::move(writes));
  kept_in_a_row_ = due.kept == 0 ? 0 : kept_in_a_row_ + due.kept;
  if (kept_in_a_row_ < kMostKept) return due.expired.size() + due.kept;
  kept_in_a_row_ = 0;
  return 0;
}

}  // namespace muster::core

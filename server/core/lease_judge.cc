#include "server/core/lease_judge.h"

#include <utility>

#include "server/core/zone_tag.h"
#include "storage/schema.h"

namespace muster::core {
namespace {

using Level = BrakeGroup::Level;

// So a million are looked at in 13 s, well within the time that they are held.
constexpr absl::Duration kReviewEvery = absl::Milliseconds(100);
constexpr size_t kReviewed = 8192;

}  // namespace

LeaseJudge::LeaseJudge(const Catalog& catalog, const LeaseTable& leases, HeldSet& held,
                       const base::Clock& clock, const BrakeOptions& options, BrakeShareOf share_of)
    : catalog_(catalog),
      leases_(leases),
      held_(held),
      clock_(clock),
      options_(options),
      share_of_(std::move(share_of)),
      brake_(options),
      census_(catalog, leases, clock) {}

double LeaseJudge::ShareOf(std::string_view service_key) const {
  if (share_of_ == nullptr) return options_.share;
  return share_of_(service_key).value_or(options_.share);
}

std::optional<absl::Duration> LeaseJudge::MayGo(const Lease& lease) {
  if (options_.share == 0 && share_of_ == nullptr) return std::nullopt;
  const std::string_view service_key = storage::ServiceKeyOf(lease.key());
  const double share = ShareOf(service_key);
  const OverdueLease overdue{lease.incarnation(), LeaseTable::DeadlineUs(lease)};
  if (overdue.deadline_us > leases_.NowUs()) return std::nullopt;
  if (share == 0) {
    brake_.Release(overdue);
    return std::nullopt;
  }
  std::optional<Counted> counted;
  if (const BrakeGroup* own = brake_.GroupOf(overdue)) {
    counted = {*own, census_.Of(*own, lease.ttl())};
  } else {
    counted = SmallestGroup(lease, service_key);
  }
  if (!counted) return std::nullopt;
  const auto verdict =
      brake_.Judge(leases_.NowUs(), overdue, counted->group, counted->silence, share);
  if (!verdict.hold) return std::nullopt;
  held_.Hold(lease.key(), HoldReason::kBrake);
  if (verdict.is_new) NoteZone(lease);
  return verdict.judge_again;
}

std::optional<LeaseJudge::Counted> LeaseJudge::SmallestGroup(const Lease& lease,
                                                             std::string_view service_key) {
  for (const Level level : {Level::kService, Level::kZone, Level::kServer}) {
    BrakeGroup group{level, {}, level == Level::kServer ? 0 : lease.zone()};
    if (level == Level::kService) group.service_key = std::string(service_key);
    const Silence silence = census_.Of(group, lease.ttl());
    if (silence.leases >= options_.min_leases) return Counted{std::move(group), silence};
  }
  return std::nullopt;
}

void LeaseJudge::NoteZone(const Lease& lease) {
  const auto [zone, is_new] = zones_.try_emplace(lease.zone());
  if (!is_new) return;
  const auto names = storage::DecodeInstanceKey(lease.key());
  const auto view = catalog_.ViewByKey(storage::ServiceKeyOf(lease.key()));
  if (!names || view == nullptr) return;
  if (const auto at = view->Find(names->node, names->id)) {
    zone->second = std::string(ZoneOf(at->leaf->endpoint(*at->entry)));
  }
}

void LeaseJudge::Tend() {
  const base::SteadyTime now = clock_.Steady();
  if (now - reviewed_ >= kReviewEvery) {
    reviewed_ = now;
    brake_.Review(kReviewed, [this](const OverdueLease& lease) {
      return leases_.HasDeadline(lease.handle, lease.deadline_us);
    });
  }
  for (const BrakeEvent& event : brake_.TakeEvents()) {
    const auto zone = zones_.find(event.group.zone);
    log_.Add(now, event, zone == zones_.end() ? std::string_view() : zone->second);
  }
  log_.Tend(now);
  if (brake_.groups() == 0) zones_.clear();
  Publish();
}

void LeaseJudge::Publish() {
  base::MutexLock lock(mu_);
  if (standing_.groups == 0 && brake_.groups() > 0) standing_.since = clock_.System();
  standing_.held = brake_.held();
  standing_.groups = brake_.groups();
}

BrakeStanding LeaseJudge::standing() const {
  base::MutexLock lock(mu_);
  return standing_;
}

}  // namespace muster::core

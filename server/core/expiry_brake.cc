#include "server/core/expiry_brake.h"

#include <algorithm>
#include <cmath>

namespace muster::core {
namespace {

// Less than a lease of any number of them: 0.29 * 100 is a little less than 29 in binary.
constexpr double kRounding = 1e-9;

// However many are held, judging them again costs little; and however few, those that are left when
// the others came back don't wait long.
constexpr absl::Duration kAgainForEachHeld = absl::Microseconds(30);
constexpr absl::Duration kSoonestAgain = absl::Seconds(1);
constexpr absl::Duration kLatestAgain = absl::Seconds(10);
constexpr absl::Duration kLeastAgain = absl::Milliseconds(100);  // a tick of the lease's wheel

}  // namespace

bool TooSilent(const Silence& silence, double share) {
  const double leases = static_cast<double>(silence.leases);
  return static_cast<double>(silence.silent) > leases * (share + kRounding);
}

const BrakeGroup* ExpiryBrake::GroupOf(const OverdueLease& lease) const {
  const auto it = members_.find(lease.handle);
  if (it == members_.end() || it->second.deadline_us != lease.deadline_us) return nullptr;
  return it->second.hold == nullptr ? nullptr : &it->second.hold->group;
}

ExpiryBrake::Verdict ExpiryBrake::Judge(int64_t now_us, const OverdueLease& lease,
                                        const BrakeGroup& group, const Silence& silence,
                                        double share) {
  const auto it = members_.find(lease.handle);
  Member* member = it == members_.end() ? nullptr : &it->second;
  if (member != nullptr && member->deadline_us != lease.deadline_us) Part(*member, lease.handle);
  const bool is_new = member == nullptr || member->hold == nullptr;
  if (!is_new && member->leaving) return {};
  if (!TooSilent(silence, share)) {
    if (!is_new) SetLeaving(*member, lease.handle);
    return {};
  }
  Hold& hold = is_new ? HoldOf(now_us, group, silence, share) : *member->hold;
  hold.silence = silence;
  hold.share = share;
  if (is_new) {
    if (member == nullptr) {
      member = &members_[lease.handle];
      to_review_.push_back(lease.handle);
    }
    *member = {&hold, lease.deadline_us, false};
    hold.waiting.emplace(lease.deadline_us, lease.handle);
    ++held_;
  }
  Advance(hold, now_us);
  if (member->leaving) return {};
  return {true, is_new, JudgeAgain(hold, now_us)};
}

void ExpiryBrake::Release(const OverdueLease& lease) {
  const auto it = members_.find(lease.handle);
  if (it == members_.end() || it->second.hold == nullptr || it->second.leaving) return;
  SetLeaving(it->second, lease.handle);
}

ExpiryBrake::Hold& ExpiryBrake::HoldOf(int64_t now_us, const BrakeGroup& group,
                                       const Silence& silence, double share) {
  std::unique_ptr<Hold>& hold = holds_[group];
  if (hold != nullptr) return *hold;
  hold = std::make_unique<Hold>();
  hold->group = group;
  hold->next_us = now_us + absl::ToInt64Microseconds(options_.hold);
  hold->silence = silence;
  hold->share = share;
  Report(BrakeEvent::Kind::kHolds, *hold);
  return *hold;
}

void ExpiryBrake::Advance(Hold& hold, int64_t now_us) {
  if (now_us < hold.next_us) return;
  if (!std::exchange(hold.releases, true)) Report(BrakeEvent::Kind::kReleases, hold);
  hold.most = std::max(hold.most, hold.waiting.size());
  const double part = static_cast<double>(hold.most) * options_.release_share;
  LetGo(hold, std::max<size_t>(static_cast<size_t>(std::ceil(part - kRounding)), 1));
  const int64_t interval = absl::ToInt64Microseconds(options_.release_interval);
  hold.next_us += interval;
  // Nothing is made up for.
  if (hold.next_us <= now_us) hold.next_us = now_us + interval;
}

void ExpiryBrake::LetGo(Hold& hold, size_t count) {
  for (; count > 0 && !hold.waiting.empty(); --count) {
    const uint64_t handle = hold.waiting.begin()->second;
    SetLeaving(members_.find(handle)->second, handle);
  }
}

void ExpiryBrake::SetLeaving(Member& member, uint64_t handle) {
  member.hold->waiting.erase(Place(member.deadline_us, handle));
  member.leaving = true;
  ++member.hold->leaving;
  --held_;
}

void ExpiryBrake::Part(Member& member, uint64_t handle) {
  Hold* const hold = std::exchange(member.hold, nullptr);
  if (hold == nullptr) return;
  if (std::exchange(member.leaving, false)) {
    --hold->leaving;
  } else {
    hold->waiting.erase(Place(member.deadline_us, handle));
    --held_;
  }
  if (hold->leaving > 0 || !hold->waiting.empty()) return;
  Report(BrakeEvent::Kind::kEnds, *hold);
  holds_.erase(BrakeGroup(hold->group));
}

void ExpiryBrake::Review(size_t max, absl::FunctionRef<bool(const OverdueLease&)> overdue) {
  for (size_t looked = std::min(max, to_review_.size()); looked > 0; --looked) {
    const uint64_t handle = to_review_.front();
    to_review_.pop_front();
    const auto it = members_.find(handle);
    if (it->second.hold != nullptr && overdue({handle, it->second.deadline_us})) {
      to_review_.push_back(handle);
      continue;
    }
    Part(it->second, handle);
    members_.erase(it);
  }
}

void ExpiryBrake::Report(BrakeEvent::Kind kind, const Hold& hold) {
  events_.push_back({kind, hold.group, hold.waiting.size(), hold.silence, hold.share});
}

absl::Duration ExpiryBrake::JudgeAgain(const Hold& hold, int64_t now_us) const {
  const absl::Duration again = std::clamp(kAgainForEachHeld * held_, kSoonestAgain, kLatestAgain);
  return std::max(std::min(again, absl::Microseconds(hold.next_us - now_us)), kLeastAgain);
}

}  // namespace muster::core

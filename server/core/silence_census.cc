#include "server/core/silence_census.h"

#include <algorithm>

namespace muster::core {
namespace {

constexpr absl::Duration kServiceKept = absl::Milliseconds(250);
constexpr absl::Duration kZonesKept = absl::Seconds(1);
constexpr int kPartOfTtl = 8;
constexpr int kTimesItsCost = 20;
// However dear it was: a stop of the process while it counted looks dear, too.
constexpr int kMostPartOfTtl = 4;
constexpr absl::Duration kForgetAfter = absl::Seconds(10);

void Add(const Lease& lease, int64_t now_us, Silence& to) {
  ++to.leases;
  if (LeaseTable::IsSilent(lease, now_us)) ++to.silent;
}

}  // namespace

Silence SilenceCensus::Of(const BrakeGroup& group, absl::Duration ttl) {
  if (group.level == BrakeGroup::Level::kService) {
    return In(OfService(group.service_key, ttl).zones, group.zone);
  }
  CountAll(ttl);
  return group.level == BrakeGroup::Level::kServer ? all_ : In(zones_, group.zone);
}

Silence SilenceCensus::In(const absl::flat_hash_map<uint32_t, Silence>& zones, uint32_t zone) {
  const auto it = zones.find(zone);
  return it == zones.end() ? Silence() : it->second;
}

bool SilenceCensus::IsFresh(const Made& made, absl::Duration kept, absl::Duration ttl) const {
  const absl::Duration age = clock_.Steady() - made.at;
  return made.cost != absl::InfiniteDuration() &&
         age < std::max(std::min(kept, ttl / kPartOfTtl),
                        std::min(made.cost * kTimesItsCost, ttl / kMostPartOfTtl));
}

const SilenceCensus::ServiceCount& SilenceCensus::OfService(const std::string& service_key,
                                                            absl::Duration ttl) {
  const base::SteadyTime now = clock_.Steady();
  if (now - forgot_old_ > kForgetAfter) ForgetOld(now);
  ServiceCount& count = services_[service_key];
  if (IsFresh(count.made, kServiceKept, ttl)) return count;
  count.zones.clear();
  CountService(service_key, count);
  const base::SteadyTime done = clock_.Steady();
  count.made = {done, done - now};
  ++service_counts_;
  return count;
}

void SilenceCensus::CountService(const std::string& service_key, ServiceCount& to) {
  const auto view = catalog_.ViewByKey(service_key);
  if (view == nullptr) return;
  const int64_t now_us = leases_.NowUs();
  std::string key = service_key;
  key.push_back('\0');
  const size_t prefix = key.size();
  for (const LeafRef& ref : view->leaves()) {
    for (const EndpointEntry& entry : ref.leaf->entries) {
      key.resize(prefix);
      key.append(ref.leaf->node(entry));
      key.push_back('\0');
      key.append(ref.leaf->id(entry));
      const LeasePtr lease = leases_.Find(key);
      if (lease == nullptr || lease->permanent()) continue;
      Add(*lease, now_us, to.zones[lease->zone()]);
    }
  }
}

void SilenceCensus::CountAll(absl::Duration ttl) {
  if (IsFresh(all_made_, kZonesKept, ttl)) return;
  const base::SteadyTime began = clock_.Steady();
  const int64_t now_us = leases_.NowUs();
  zones_.clear();
  all_ = {};
  leases_.ForEach([&](const Lease& lease) {
    if (lease.permanent()) return;
    Add(lease, now_us, zones_[lease.zone()]);
  });
  for (const auto& [zone, silence] : zones_) {
    all_.leases += silence.leases;
    all_.silent += silence.silent;
  }
  const base::SteadyTime done = clock_.Steady();
  all_made_ = {done, done - began};
  ++full_counts_;
}

void SilenceCensus::ForgetOld(base::SteadyTime now) {
  absl::erase_if(services_,
                 [&](const auto& entry) { return now - entry.second.made.at > kForgetAfter; });
  forgot_old_ = now;
}

}  // namespace muster::core

#include "server/core/held_set.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "base/text.h"
#include "server/core/query.h"

namespace muster::core {
namespace {

constexpr size_t kReviewedPerRefresh = 4096;
constexpr size_t kMaxPartBytes = 512 * 1024;
// Watchers are sent the whole of a zone each time: big sets less often.
constexpr absl::Duration kPauseForEach = absl::Microseconds(20);

uint8_t BitOf(HoldReason reason) { return static_cast<uint8_t>(reason); }

std::string ServiceKeyOf(std::string_view instance_key) {
  const auto names = storage::DecodeInstanceKey(instance_key);
  return names ? storage::EncodeServiceKey(names->ns, names->service) : std::string();
}

std::vector<std::string> EncodeParts(const HeldZone& zone) {
  std::vector<std::string> parts;
  v1::Held part = zone.Head();
  size_t bytes = 0;
  for (const HeldKey& key : zone.keys) {
    if (bytes > kMaxPartBytes - 1024) {  // a key has at most 520 bytes
      part.set_more(true);
      parts.push_back(part.SerializeAsString());
      part = zone.Head();
      bytes = 0;
    }
    v1::EndpointKey* added = part.add_keys();
    added->set_node(key.node);
    added->set_id(key.id);
    bytes += key.node.size() + key.id.size() + 8;
  }
  parts.push_back(part.SerializeAsString());
  return parts;
}

bool Same(const HeldZone& a, const HeldZone& b) {
  return a.zone == b.zone && a.since.us == b.since.us && a.reasons == b.reasons && a.keys == b.keys;
}

std::shared_ptr<const HeldZone> ZoneIn(const HeldService* service, const std::string& zone) {
  if (service == nullptr) return nullptr;
  for (const auto& one : service->zones) {
    if (one->zone == zone) return one;
  }
  return nullptr;
}

}  // namespace

bool HeldZone::Has(std::string_view node, std::string_view id) const {
  const auto it = std::partition_point(keys.begin(), keys.end(), [&](const HeldKey& key) {
    return std::pair<std::string_view, std::string_view>(key.node, key.id) < std::pair(node, id);
  });
  return it != keys.end() && it->node == node && it->id == id;
}

v1::Held HeldZone::Head() const {
  v1::Held out;
  out.set_zone(zone);
  out.mutable_since()->set_seconds(since.us / 1'000'000);
  out.mutable_since()->set_nanos(static_cast<int32_t>(since.us % 1'000'000) * 1000);
  for (const HoldReason reason : {HoldReason::kStorageReadOnly, HoldReason::kBrake}) {
    if ((reasons & BitOf(reason)) != 0) {
      out.add_reasons(static_cast<v1::Held::Reason>(BitOf(reason)));
    }
  }
  out.set_count(keys.size());
  return out;
}

const HeldZone* HeldService::Find(std::string_view node, std::string_view id) const {
  for (const auto& zone : zones) {
    if (zone->Has(node, id)) return zone.get();
  }
  return nullptr;
}

std::string HeldSet::ZoneOf(std::string_view instance_key) const {
  const auto names = storage::DecodeInstanceKey(instance_key);
  if (!names) return "";
  const auto info = catalog_.Get(names->ns, names->service);
  if (!info) return "";
  const auto at = info->view->Find(names->node, names->id);
  return at ? LocalityOf(at->leaf->endpoint(*at->entry)).zone() : "";
}

void HeldSet::MarkDirty(std::string_view instance_key) {
  services_[ServiceKeyOf(instance_key)].dirty = true;
}

void HeldSet::Hold(std::string_view instance_key, HoldReason reason) {
  {
    base::MutexLock lock(mu_);
    const auto it = entries_.find(base::Av(instance_key));
    if (it != entries_.end()) {
      if ((it->second.reasons & BitOf(reason)) != 0) return;
      it->second.reasons |= BitOf(reason);
      return MarkDirty(instance_key);
    }
  }
  Entry entry{ZoneOf(instance_key), clock_.System(), 0};
  base::MutexLock lock(mu_);
  const auto it = entries_.try_emplace(std::string(instance_key), std::move(entry)).first;
  it->second.reasons |= BitOf(reason);
  size_.store(entries_.size(), std::memory_order_relaxed);
  MarkDirty(instance_key);
}

void HeldSet::Release(std::string_view instance_key, HoldReason reason) {
  base::MutexLock lock(mu_);
  const auto it = entries_.find(base::Av(instance_key));
  if (it == entries_.end() || (it->second.reasons & BitOf(reason)) == 0) return;
  it->second.reasons &= static_cast<uint8_t>(~BitOf(reason));
  if (it->second.reasons == 0) entries_.erase(it);
  size_.store(entries_.size(), std::memory_order_relaxed);
  MarkDirty(instance_key);
}

void HeldSet::Review() {
  auto it = entries_.upper_bound(reviewed_);
  for (size_t looked = std::min(entries_.size(), kReviewedPerRefresh); looked > 0; --looked) {
    if (it == entries_.end()) it = entries_.begin();
    reviewed_ = it->first;
    if (leases_.IsOverdue(it->first)) {
      ++it;
      continue;
    }
    MarkDirty(it->first);
    it = entries_.erase(it);
  }
  size_.store(entries_.size(), std::memory_order_relaxed);
}

std::shared_ptr<const HeldService> HeldSet::Build(std::string_view service_key,
                                                  const HeldService* old) {
  const auto names = storage::DecodeServiceKey(service_key);
  if (!names) return nullptr;
  const std::string prefix = storage::InstancePrefix(names->ns, names->service);
  std::map<std::string, HeldZone> zones;
  for (auto it = entries_.lower_bound(prefix);
       it != entries_.end() && absl::StartsWith(it->first, prefix); ++it) {
    const auto key = storage::DecodeInstanceKey(it->first);
    HeldZone& zone = zones[it->second.zone];
    if (zone.keys.empty() || it->second.since < zone.since) zone.since = it->second.since;
    zone.reasons |= it->second.reasons;
    zone.keys.push_back({std::string(key->node), std::string(key->id)});
  }
  if (zones.empty()) return nullptr;
  auto out = std::make_shared<HeldService>();
  for (auto& [name, zone] : zones) {
    zone.zone = name;
    auto present = ZoneIn(old, name);
    if (present == nullptr || !Same(*present, zone)) {
      zone.version = ++last_version_;
      zone.parts = EncodeParts(zone);
      present = std::make_shared<const HeldZone>(std::move(zone));
    }
    out->zones.push_back(std::move(present));
  }
  return out;
}

void HeldSet::Publish(const std::string& service_key, std::shared_ptr<const HeldService> service) {
  base::MutexLock lock(published_mu_);
  if (service == nullptr) {
    published_.erase(service_key);
  } else {
    published_[service_key] = std::move(service);
  }
  any_.store(!published_.empty(), std::memory_order_release);
}

void HeldSet::Refresh() {
  std::vector<std::string> changed;
  {
    base::MutexLock lock(mu_);
    Review();
    const base::SteadyTime now = clock_.Steady();
    for (auto& [key, state] : services_) {
      if (state.dirty && state.not_before <= now) changed.push_back(key);
    }
    for (const std::string& key : changed) {
      auto built = Build(key, Look(key).get());
      size_t keys = 0;
      if (built == nullptr) {
        services_.erase(key);
      } else {
        for (const auto& zone : built->zones) keys += zone->keys.size();
        services_[key] = {now + kPauseForEach * keys, false};
      }
      Publish(key, std::move(built));
    }
  }
  for (const std::string& key : changed) hub_.Notify(key);
}

std::shared_ptr<const HeldService> HeldSet::Look(std::string_view service_key) const {
  base::MutexLock lock(published_mu_);
  const auto it = published_.find(base::Av(service_key));
  return it == published_.end() ? nullptr : it->second;
}

void HeldSet::List(const std::function<bool(std::string_view, const HeldService&)>& visit) const {
  base::MutexLock lock(published_mu_);
  for (const auto& [key, service] : published_) {
    if (!visit(key, *service)) return;
  }
}

}  // namespace muster::core

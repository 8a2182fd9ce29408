#include "server/rpc/held.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/rpc/slices.h"
#include "server/rpc/watch_events.h"
#include "storage/schema.h"

namespace muster::rpc {
namespace {

constexpr int kMaxSets = 100;
constexpr size_t kMaxKeysOfSet = 10;

void AddKey(std::string_view node, std::string_view id, v1::Held& to) {
  v1::EndpointKey* key = to.add_keys();
  key->set_node(std::string(node));
  key->set_id(std::string(id));
}

const core::HeldZone* ZoneIn(const core::HeldService* held, const std::string& zone) {
  if (held == nullptr) return nullptr;
  for (const auto& one : held->zones) {
    if (one->zone == zone) return one.get();
  }
  return nullptr;
}

grpc::ByteBuffer LetGo(uint64_t sub_id, const std::string& zone) {
  v1::Held none;
  none.set_zone(zone);
  return HeldEvent(sub_id, OwnedSlice(none.SerializeAsString()));
}

}  // namespace

void AddHeld(const core::HeldService& held, const core::QueryPage& page, v1::DiscoverResponse& to) {
  std::map<const core::HeldZone*, v1::Held> found;
  for (const core::EndpointRun& run : page.runs) {
    const core::Leaf& leaf = *run.leaf;
    const auto begin = static_cast<uint32_t>(run.fields.data() - leaf.bytes.data());
    auto entry = std::partition_point(leaf.entries.begin(), leaf.entries.end(),
                                      [&](const auto& e) { return e.offset < begin; });
    for (; entry != leaf.entries.end() && entry->offset < begin + run.fields.size(); ++entry) {
      const core::HeldZone* zone = held.Find(leaf.node(*entry), leaf.id(*entry));
      if (zone == nullptr) continue;
      const auto [it, first] = found.try_emplace(zone);
      if (first) it->second = zone->Head();
      AddKey(leaf.node(*entry), leaf.id(*entry), it->second);
    }
  }
  for (const auto& zone : held.zones) {
    const auto it = found.find(zone.get());
    if (it != found.end()) *to.add_held() = std::move(it->second);
  }
}

void AddHeldSets(const core::HeldSet& held, v1::StatusResponse& to) {
  const uint64_t count = held.size();
  held.List([&](std::string_view service_key, const core::HeldService& service) {
    const auto names = storage::DecodeServiceKey(service_key);
    for (const auto& zone : service.zones) {
      if (!names || to.held_size() >= kMaxSets) return false;
      v1::Held& set = *to.add_held();
      set = zone->Head();
      set.set_namespace_(std::string(names->ns));
      set.set_service(std::string(names->service));
      for (size_t i = 0; i < std::min(zone->keys.size(), kMaxKeysOfSet); ++i) {
        AddKey(zone->keys[i].node, zone->keys[i].id, set);
      }
    }
    return true;
  });
  if (count == 0) return;
  to.add_warnings(absl::StrCat("overdue endpoints are held in the answers: ", count));
}

void AddBrake(const core::BrakeStanding& brake, v1::StatusResponse& to) {
  if (brake.held == 0) return;
  const std::string since = absl::FormatTime(
      "%Y-%m-%dT%H:%M:%SZ", absl::FromUnixMicros(brake.since.us), absl::UTCTimeZone());
  to.add_warnings(absl::StrCat("the brake holds ", brake.held, " overdue leases of ", brake.groups,
                               brake.groups == 1 ? " group since " : " groups since ", since,
                               "; see docs/lifetime.md"));
}

std::vector<grpc::ByteBuffer> ToldHeld::Tell(uint64_t sub_id, const core::HeldService* held) {
  std::vector<grpc::ByteBuffer> events;
  for (const auto& [zone, version] : zones_) {
    if (ZoneIn(held, zone) == nullptr) events.push_back(LetGo(sub_id, zone));
  }
  const auto before = std::exchange(zones_, {});
  if (held == nullptr) return events;
  for (const auto& zone : held->zones) {
    zones_.emplace_back(zone->zone, zone->version);
    if (std::find(before.begin(), before.end(), zones_.back()) != before.end()) continue;
    for (const std::string& part : zone->parts) {
      events.push_back(HeldEvent(sub_id, SharedSlice(zone, part)));
    }
  }
  return events;
}

}  // namespace muster::rpc

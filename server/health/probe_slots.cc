#include "server/health/probe_slots.h"

#include <utility>

namespace muster::health {

bool ProbeSlots::HasRoom(Lane lane) const {
  const auto taken = [this](Lane of) { return lanes_[static_cast<size_t>(of)].taken; };
  switch (lane) {
    case Lane::kSlow:
      if (taken(Lane::kSlow) >= Part(most_, 2)) return false;
      [[fallthrough]];
    case Lane::kNew:
      if (taken(Lane::kSlow) + taken(Lane::kNew) >= Part(most_, 3)) return false;
      [[fallthrough]];
    case Lane::kQuick:
      return taken_ < most_;
  }
  return false;
}

bool ProbeSlots::HasRoom(const std::string& host) const {
  const auto taken = taken_of_host_.find(host);
  return taken == taken_of_host_.end() || taken->second < most_of_host_;
}

void ProbeSlots::MayTakeTurn(Lines& lane, const std::string& host) {
  const auto line = lane.of_host.find(host);
  if (line == lane.of_host.end() || line->second.in_turn || !HasRoom(host)) return;
  line->second.in_turn = true;
  lane.turns.push_back(host);
}

void ProbeSlots::Ask(uint64_t id, const std::string& host, Lane lane) {
  At(lane).of_host[host].ids.push_back(id);
  places_[id] = {host, lane, false};
  ++waiting_;
  MayTakeTurn(At(lane), host);
}

std::optional<uint64_t> ProbeSlots::NextOf(Lane which) {
  Lines& lane = At(which);
  while (HasRoom(which) && !lane.turns.empty()) {
    const std::string host = std::move(lane.turns.front());
    lane.turns.pop_front();
    const auto at = lane.of_host.find(host);
    Line& line = at->second;
    line.in_turn = false;
    // It has taken its share in another lane meanwhile.
    if (!HasRoom(host)) continue;
    std::optional<uint64_t> next;
    while (!next && !line.ids.empty()) {
      const auto place = places_.find(line.ids.front());
      // Else it left, and may have asked again in another lane.
      if (place != places_.end() && !place->second.taken && place->second.lane == which) {
        next = place->first;
        place->second.taken = true;
      }
      line.ids.pop_front();
    }
    if (next) ++taken_of_host_[host];
    if (line.ids.empty()) {
      lane.of_host.erase(at);
    } else {
      MayTakeTurn(lane, host);
    }
    if (!next) continue;
    ++lane.taken;
    ++taken_;
    --waiting_;
    return next;
  }
  return std::nullopt;
}

std::optional<uint64_t> ProbeSlots::Next() {
  for (size_t tried = 0; tried < kLanes; ++tried) {
    const auto lane = static_cast<Lane>(turn_);
    turn_ = (turn_ + 1) % kLanes;
    if (const auto next = NextOf(lane)) return next;
  }
  return std::nullopt;
}

void ProbeSlots::Leave(uint64_t id) {
  const auto at = places_.find(id);
  if (at == places_.end()) return;
  const Place place = std::move(at->second);
  places_.erase(at);
  if (!place.taken) {
    // It is stepped over in its line.
    --waiting_;
    return;
  }
  --taken_;
  --At(place.lane).taken;
  const auto of_host = taken_of_host_.find(place.host);
  if (--of_host->second == 0) taken_of_host_.erase(of_host);
  for (Lines& lane : lanes_) MayTakeTurn(lane, place.host);
}

}  // namespace muster::health

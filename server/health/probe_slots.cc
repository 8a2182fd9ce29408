#include "server/health/probe_slots.h"

#include <utility>

namespace muster::health {

void ProbeSlots::MayTakeTurn(const std::string& name, Host& host) {
  if (host.in_turn || host.line.empty() || host.taken >= most_of_host_) return;
  host.in_turn = true;
  turns_.push_back(name);
}

void ProbeSlots::Ask(uint64_t id, const std::string& host) {
  Host& at = hosts_[host];
  at.line.push_back(id);
  places_[id] = {host, false};
  ++waiting_;
  MayTakeTurn(host, at);
}

std::optional<uint64_t> ProbeSlots::Next() {
  while (taken_ < most_ && !turns_.empty()) {
    const std::string name = std::move(turns_.front());
    turns_.pop_front();
    Host& host = hosts_.at(name);
    host.in_turn = false;
    while (!host.line.empty()) {
      const uint64_t id = host.line.front();
      host.line.pop_front();
      const auto place = places_.find(id);
      if (place == places_.end() || place->second.taken) continue;  // it left
      place->second.taken = true;
      ++host.taken;
      ++taken_;
      --waiting_;
      MayTakeTurn(name, host);
      return id;
    }
    if (host.taken == 0) hosts_.erase(name);
  }
  return std::nullopt;
}

void ProbeSlots::Leave(uint64_t id) {
  const auto place = places_.find(id);
  if (place == places_.end()) return;
  const std::string name = std::move(place->second.host);
  const bool taken = place->second.taken;
  places_.erase(place);
  if (!taken) {
    // It is stepped over in its line.
    --waiting_;
    return;
  }
  --taken_;
  Host& host = hosts_.at(name);
  --host.taken;
  if (host.taken == 0 && host.line.empty() && !host.in_turn) {
    hosts_.erase(name);
  } else {
    MayTakeTurn(name, host);
  }
}

}  // namespace muster::health

// ProbeSlots: how many probes are under way at once, and who is next when there is room.
//
// Hosts take turns, and one host takes no more than a quarter of all places: one that hangs, with
// however many checks, delays its own. So that many that hang don't delay everybody, whatever their
// names, checks stand in three lanes, which take turns as well: slow ones together have half of the
// places at most, and with those of which nothing is known three quarters.
//
//   slots.Ask(id, "10.0.0.7", ProbeSlots::Lane::kNew);
//   while (const std::optional<uint64_t> id = slots.Next()) … start it; later slots.Leave(*id);
//
// Thread safety: none. Cost: constant.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/container/node_hash_map.h"

namespace muster::health {

class ProbeSlots {
 public:
  enum class Lane : uint8_t { kQuick, kNew, kSlow };

  // REQUIRES: most > 0.
  explicit ProbeSlots(size_t most) : most_(most), most_of_host_(Part(most, 1)) {}

  // Gets in line. REQUIRES: it neither waits nor has a place.
  void Ask(uint64_t id, const std::string& host, Lane lane);
  // Who may start now: it has a place until Leave. nullopt: nobody.
  std::optional<uint64_t> Next();
  // Gives up a place, or waits no longer. Nothing happens when it does neither.
  void Leave(uint64_t id);

  size_t taken() const { return taken_; }
  size_t waiting() const { return waiting_; }

 private:
  static constexpr size_t kLanes = 3;
  // Those of one host that wait in one lane.
  struct Line {
    std::deque<uint64_t> ids;
    bool in_turn = false;  // its host stands in the lane's turns
  };
  struct Lines {
    absl::node_hash_map<std::string, Line> of_host;
    std::deque<std::string> turns;  // hosts that wait, and had room
    size_t taken = 0;
  };
  struct Place {
    std::string host;
    Lane lane;
    bool taken = false;
  };
  static size_t Part(size_t most, size_t quarters) { return (most * quarters + 3) / 4; }
  Lines& At(Lane lane) { return lanes_[static_cast<size_t>(lane)]; }
  bool HasRoom(Lane lane) const;
  bool HasRoom(const std::string& host) const;
  void MayTakeTurn(Lines& lane, const std::string& host);
  std::optional<uint64_t> NextOf(Lane lane);

  const size_t most_;
  const size_t most_of_host_;
  size_t taken_ = 0;
  size_t waiting_ = 0;
  size_t turn_ = 0;  // the lane that is asked first
  std::array<Lines, kLanes> lanes_;
  absl::flat_hash_map<std::string, size_t> taken_of_host_;
  absl::flat_hash_map<uint64_t, Place> places_;
};

}  // namespace muster::health

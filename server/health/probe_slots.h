// ProbeSlots: how many probes are under way at once, and who is next when there is room.
//
// Hosts take turns, and one host takes no more than a quarter of all places: one that hangs, with
// however many checks, delays its own.
//
//   slots.Ask(id, "10.0.0.7");
//   while (const std::optional<uint64_t> id = slots.Next()) … start it; later slots.Leave(*id);
//
// Thread safety: none. Cost: constant.
#pragma once

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
  // REQUIRES: most > 0.
  explicit ProbeSlots(size_t most) : most_(most), most_of_host_((most + 3) / 4) {}

  // Gets in line. REQUIRES: it neither waits nor has a place.
  void Ask(uint64_t id, const std::string& host);
  // Who may start now: it has a place until Leave. nullopt: nobody.
  std::optional<uint64_t> Next();
  // Gives up a place, or waits no longer. Nothing happens when it does neither.
  void Leave(uint64_t id);

  size_t taken() const { return taken_; }
  size_t waiting() const { return waiting_; }

 private:
  struct Host {
    std::deque<uint64_t> line;
    size_t taken = 0;
    bool in_turn = false;  // stands in turns_
  };
  struct Place {
    std::string host;
    bool taken = false;
  };
  void MayTakeTurn(const std::string& name, Host& host);

  const size_t most_;
  const size_t most_of_host_;
  size_t taken_ = 0;
  size_t waiting_ = 0;
  absl::node_hash_map<std::string, Host> hosts_;
  absl::flat_hash_map<uint64_t, Place> places_;
  std::deque<std::string> turns_;  // hosts that wait and have room
};

}  // namespace muster::health

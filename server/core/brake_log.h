// BrakeLog: a line for each hold of the brake that begins, begins to release, or ends; ten lines in
// ten seconds, and beyond that one that counts the others, so that a cut between a hundred thousand
// services and the server fills no disk.
//
// Thread safety: by one thread. Time comes in.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/clock.h"
#include "server/core/expiry_brake.h"

namespace muster::core {

class BrakeLog {
 public:
  // `zone`: the name of the group's; of no meaning for kServer.
  void Add(base::SteadyTime now, const BrakeEvent& event, std::string_view zone);
  // Tells what was left out, once the ten seconds are over.
  void Tend(base::SteadyTime now);

 private:
  bool MayWrite(base::SteadyTime now);

  base::SteadyTime began_{};  // the present ten seconds
  int written_ = 0;
  std::array<uint64_t, 3> left_out_{};  // by kind
};

}  // namespace muster::core

// What a workload gives to the harness: contestants, which are measured round by round, and
// comparisons of their readings with a yardstick or a goal.
//
//   absl::StatusOr<Plan> PlanDiscover(const Options& options) {
//     auto server = ...;                  // started and filled here
//     Plan plan;
//     plan.contestants.push_back({"muster", [server]() -> absl::StatusOr<Readings> { ... }});
//     plan.contestants.push_back({"empty call", ...});
//     plan.comparisons.push_back({.metric = "calls", .unit = "1/s", .value = {"muster", "rate"},
//                                 .yardstick = Source{"empty call", "rate"}, .goal =
//                                 AtLeast(0.85)});
//     return plan;
//   }
//   const Registration registration("discover", "64 calls in flight", &PlanDiscover);
//
// Each contestant's `round` runs once to warm up (unless the plan says otherwise) and then
// options.rounds times, in alternating order. The plan owns its servers, through what the rounds
// captured; they end with it. Thread safety: none, one thread runs all. Errors: a round that fails
// ends the run.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace muster::bench {

struct Options {
  int rounds = 20;
  absl::Duration round = absl::Seconds(1);
  // Does everything once or twice, small: proves that the workload works, measures nothing.
  bool quick = false;
  bool verbose = false;

  // At least one.
  int RoundsIn(absl::Duration time) const {
    return std::max(1, static_cast<int>(absl::FDivDuration(time, round)));
  }
  // How many of something: `full`, or about a fiftieth of it when quick.
  size_t Scaled(size_t full) const { return quick ? (full + 49) / 50 : full; }
};

// Name -> value, of one round.
using Readings = std::map<std::string, double>;

struct Contestant {
  std::string name;
  std::function<absl::StatusOr<Readings>()> round;
};

struct Goal {
  enum class Kind : uint8_t { kAtLeast, kAtMost };
  Kind kind = Kind::kAtLeast;
  double bound = 0;
};
inline Goal AtLeast(double bound) { return {Goal::Kind::kAtLeast, bound}; }
inline Goal AtMost(double bound) { return {Goal::Kind::kAtMost, bound}; }

// A reading of a contestant.
struct Source {
  std::string contestant;
  std::string reading;
  std::string label{};  // printed instead of the contestant
};

struct Comparison {
  std::string metric;
  std::string unit;
  Source value;
  // With a yardstick the goal bounds value / yardstick, without one the value.
  std::optional<Source> yardstick{};
  // None: printed for information.
  std::optional<Goal> goal{};
  // Takes the highest of the rounds, not their median: for what must not happen once.
  bool worst = false;
};

struct Plan {
  std::vector<Contestant> contestants;
  std::vector<Comparison> comparisons;
  // Fewer rounds than asked for, where one takes long. 0: as asked.
  int most_rounds = 0;
  // False: no round to warm up, where each round starts servers of its own.
  bool warm_up = true;
};

using Planner = absl::StatusOr<Plan> (*)(const Options& options);

struct Workload {
  std::string about;  // one line
  Planner plan;
};

// By name.
std::map<std::string, Workload>& Workloads();

struct Registration {
  Registration(std::string name, std::string about, Planner plan) {
    Workloads()[std::move(name)] = {std::move(about), plan};
  }
};

}  // namespace muster::bench

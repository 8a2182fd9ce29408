// From readings to verdicts.
//
// The ratio is the median of the ratios of single rounds, since both sides of a round saw the same
// machine. Its spread is the 95 % confidence interval of that median, so that more rounds tell
// more. A goal holds, or is fallen short of, only when the whole interval says so: else the verdict
// is inconclusive.
//
// Pure. Thread safety: none. Units: as the workload's.
#pragma once

#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/bench/workload.h"

namespace muster::bench {

// Of each contestant, by name, one for each round.
using Samples = std::map<std::string, std::vector<Readings>>;

enum class Verdict : uint8_t { kHolds, kShort, kInconclusive, kNoGoal };
std::string_view VerdictName(Verdict verdict);

struct Interval {
  double low = 0;
  double high = 0;
};

struct Row {
  std::string name;  // of the workload
  std::string metric;
  double value = 0;
  std::string unit;
  std::string yardstick;  // "": none
  double yardstick_value = 0;
  double ratio = 0;  // with a yardstick
  Interval spread;   // of the ratio, or of the value
  std::optional<Goal> goal;
  Verdict verdict = Verdict::kNoGoal;
};

// 0 of nothing; NaN when one of them is not finite, as are the ends of the interval below.
double Median(std::vector<double> values);
// Where the median of whatever the values were drawn from lies, by order statistics: no assumption
// about how they are distributed. Fewer than six values are too few for 95 %: from the lowest to
// the highest then.
Interval MedianInterval(std::vector<double> values);

Verdict Judge(const Interval& spread, const Goal& goal);

// A reading that is missing is an error of the workload: NOT_FOUND.
absl::StatusOr<Row> Evaluate(const std::string& workload, const Comparison& comparison,
                             const Samples& samples);

void WriteTable(std::ostream& out, const std::vector<Row>& rows);

// [{name, metric, value, unit, yardstick, yardstick_value, ratio, goal, verdict}]. What does not
// apply is null; a goal is a text like ">=0.85".
std::string ToJson(const std::vector<Row>& rows);

}  // namespace muster::bench

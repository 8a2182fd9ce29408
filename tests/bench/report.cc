#include "tests/bench/report.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace muster::bench {
namespace {

// Between the two nearest where it falls between.
double Quantile(const std::vector<double>& sorted, double q) {
  const double place = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(place);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (place - static_cast<double>(low));
}

constexpr double kNoNumber = std::numeric_limits<double>::quiet_NaN();

// What isn't has no place in an order.
bool AllFinite(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

absl::StatusOr<std::vector<double>> ReadingsOf(const Source& source, const Samples& samples) {
  std::vector<double> out;
  const auto rounds = samples.find(source.contestant);
  if (rounds != samples.end()) {
    for (const Readings& readings : rounds->second) {
      const auto reading = readings.find(source.reading);
      if (reading != readings.end()) out.push_back(reading->second);
    }
  }
  if (!out.empty() && out.size() == rounds->second.size()) return out;
  return absl::NotFoundError(
      absl::StrCat(source.contestant, " has no reading \"", source.reading, "\""));
}

std::string GoalText(const std::optional<Goal>& goal) {
  if (!goal) return "";
  return absl::StrFormat("%s%.10g", goal->kind == Goal::Kind::kAtLeast ? ">=" : "<=", goal->bound);
}

// As many digits as say something.
std::string Short(double value) {
  const double size = std::abs(value);
  if (size >= 1000) return absl::StrFormat("%.0f", value);
  if (size >= 10) return absl::StrFormat("%.1f", value);
  return absl::StrFormat("%.3f", value);
}

}  // namespace

std::string_view VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kHolds:
      return "holds";
    case Verdict::kShort:
      return "short";
    case Verdict::kInconclusive:
      return "inconclusive";
    case Verdict::kNoGoal:
      break;
  }
  return "no goal";
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  if (!AllFinite(values)) return kNoNumber;
  std::sort(values.begin(), values.end());
  return Quantile(values, 0.5);
}

Interval MedianInterval(std::vector<double> values) {
  if (values.empty()) return {};
  if (!AllFinite(values)) return {kNoNumber, kNoNumber};
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  // As many values lie below the median as heads fall in n throws: the interval leaves out the
  // lowest and the highest ones that it may with 2.5 % on each side.
  size_t rank = 0;
  double exactly = std::pow(0.5, static_cast<double>(n));
  for (double at_most = exactly; at_most <= 0.025 && 2 * (rank + 1) < n; at_most += exactly) {
    ++rank;
    exactly *= static_cast<double>(n - rank + 1) / static_cast<double>(rank);
  }
  const size_t first = rank == 0 ? 0 : rank - 1;
  return {values[first], values[n - 1 - first]};
}

Verdict Judge(const Interval& spread, const Goal& goal) {
  const bool at_least = goal.kind == Goal::Kind::kAtLeast;
  // Written so that no number, NaN, never holds.
  if (at_least ? spread.low >= goal.bound : spread.high <= goal.bound) return Verdict::kHolds;
  if (at_least ? spread.high < goal.bound : spread.low > goal.bound) return Verdict::kShort;
  return Verdict::kInconclusive;
}

absl::StatusOr<Row> Evaluate(const std::string& workload, const Comparison& comparison,
                             const Samples& samples) {
  Row row{.name = workload,
          .metric = comparison.metric,
          .unit = comparison.unit,
          .goal = comparison.goal};
  const auto values = ReadingsOf(comparison.value, samples);
  if (!values.ok()) return values.status();
  row.value =
      comparison.worst ? *std::max_element(values->begin(), values->end()) : Median(*values);
  row.spread = comparison.worst ? Interval{row.value, row.value} : MedianInterval(*values);
  if (comparison.yardstick) {
    const auto yardsticks = ReadingsOf(*comparison.yardstick, samples);
    if (!yardsticks.ok()) return yardsticks.status();
    const Source& source = *comparison.yardstick;
    row.yardstick = source.label.empty() ? source.contestant : source.label;
    row.yardstick_value = Median(*yardsticks);
    std::vector<double> ratios;
    for (size_t i = 0; i < values->size() && i < yardsticks->size(); ++i) {
      ratios.push_back((*values)[i] / (*yardsticks)[i]);
    }
    row.ratio = Median(ratios);
    row.spread = MedianInterval(std::move(ratios));
  }
  if (row.goal) row.verdict = Judge(row.spread, *row.goal);
  return row;
}

void WriteTable(std::ostream& out, const std::vector<Row>& rows) {
  constexpr const char* kLine = "%-12s %-46s %12s %-8s %-22s %12s %7s %16s %-10s %s\n";
  out << absl::StreamFormat(kLine, "workload", "metric", "value", "unit", "yardstick", "its value",
                            "ratio", "spread", "goal", "verdict");
  for (const Row& row : rows) {
    const bool compared = !row.yardstick.empty();
    out << absl::StreamFormat(
        kLine, row.name, row.metric, Short(row.value), row.unit, compared ? row.yardstick : "-",
        compared ? Short(row.yardstick_value) : "-", compared ? Short(row.ratio) : "-",
        absl::StrCat(Short(row.spread.low), "..", Short(row.spread.high)),
        row.goal ? GoalText(row.goal) : "-", std::string(VerdictName(row.verdict)));
  }
  out << std::flush;
}

std::string ToJson(const std::vector<Row>& rows) {
  google::protobuf::ListValue list;
  for (const Row& row : rows) {
    auto& fields = *list.add_values()->mutable_struct_value()->mutable_fields();
    fields["name"].set_string_value(row.name);
    fields["metric"].set_string_value(row.metric);
    fields["value"].set_number_value(row.value);
    fields["unit"].set_string_value(row.unit);
    for (const char* name : {"yardstick", "yardstick_value", "ratio", "goal"}) {
      fields[name].set_null_value(google::protobuf::NULL_VALUE);
    }
    if (!row.yardstick.empty()) {
      fields["yardstick"].set_string_value(row.yardstick);
      fields["yardstick_value"].set_number_value(row.yardstick_value);
      fields["ratio"].set_number_value(row.ratio);
    }
    if (row.goal) fields["goal"].set_string_value(GoalText(row.goal));
    fields["verdict"].set_string_value(std::string(VerdictName(row.verdict)));
  }
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(list, &json, options);
  return status.ok() ? json : "[]\n";
}

}  // namespace muster::bench

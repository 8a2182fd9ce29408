#include "tests/bench/soak/judge.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_format.h"
#include "tests/bench/report.h"

namespace muster::bench {
namespace {

using Value = double (*)(const Sample&);
struct Flat {
  const char* what;
  Value value;
};
constexpr Flat kFlat[] = {{"memory, B", [](const Sample& s) { return s.resident_bytes; }},
                          {"descriptors", [](const Sample& s) { return s.descriptors; }},
                          {"latency of Register alone, times bare",
                           [](const Sample& s) { return s.register_times_bare; }},
                          {"latency of Discover alone, times empty",
                           [](const Sample& s) { return s.discover_times_empty; }}};

double MedianOf(const std::vector<Sample>& samples, size_t begin, size_t end, Value value) {
  std::vector<double> values;
  for (size_t i = begin; i < end; ++i) values.push_back(value(samples[i]));
  return Median(std::move(values));
}

}  // namespace

std::vector<Finding> Judge(const std::vector<Sample>& samples, const Bounds& bounds) {
  std::vector<Sample> settled;
  std::copy_if(samples.begin(), samples.end(), std::back_inserter(settled),
               [&](const Sample& sample) { return sample.at > bounds.settled; });
  const size_t n = settled.size();
  const size_t third = n / 3;
  if (third == 0) return {};
  std::vector<Finding> out;
  for (const Flat& flat : kFlat) {
    Finding finding{.what = flat.what,
                    .first = MedianOf(settled, 0, third, flat.value),
                    .last = MedianOf(settled, n - third, n, flat.value)};
    finding.growth = finding.last / finding.first - 1;
    finding.grew = !(finding.growth <= bounds.growth);  // nor is no number at all
    out.push_back(std::move(finding));
  }
  Finding disk{.what = "data directory, B, bound and highest", .first = bounds.disk_bytes};
  for (const Sample& sample : settled) disk.last = std::max(disk.last, sample.disk_bytes);
  disk.growth = disk.last / disk.first - 1;
  disk.grew = disk.last > disk.first;
  out.push_back(std::move(disk));
  return out;
}

void WriteSample(std::ostream& out, const Sample& sample) {
  constexpr double kMiB = 1 << 20;
  out << absl::StreamFormat(
             "%6.1f min  memory %7.1f MiB  descriptors %4.0f  disk %7.1f MiB  instances %7.0f  "
             "CPU %4.2f  Register %6.0f us, p99 %7.0f, alone %5.3f times bare "
             " "
             "Discover %6.0f us, p99 %7.0f, alone %5.3f times empty",
             absl::ToDoubleMinutes(sample.at), sample.resident_bytes / kMiB, sample.descriptors,
             sample.disk_bytes / kMiB, sample.instances, sample.server_cpu, sample.register_p50_us,
             sample.register_p99_us, sample.register_times_bare, sample.discover_p50_us,
             sample.discover_p99_us, sample.discover_times_empty)
      << std::endl;  // seen at once, also in a file
}

void WriteFindings(std::ostream& out, const std::vector<Finding>& findings) {
  for (const Finding& finding : findings) {
    out << absl::StreamFormat("%-40s %14.10g -> %14.10g  %+6.1f %%  %s\n", finding.what,
                              finding.first, finding.last, 100 * finding.growth,
                              finding.grew ? "GREW" : "holds");
  }
}

}  // namespace muster::bench

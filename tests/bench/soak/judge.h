// Did anything grow? From the samples of a soak to a verdict.
//
//   const std::vector<Finding> findings = Judge(samples, {.settled = absl::Minutes(5)});
//
// What should be flat: of the samples after `settled`, the median of the last third is compared
// with the median of the first third. Medians, since a compaction, or another program on the
// machine, makes single samples high; thirds, so that each has many samples and a slow growth shows
// in full but for a third. Latency is that of single calls between two stretches of churn, as a
// multiple of a yardstick's at the same time: the machine is not as fast at all times, and under
// load a slow one answers late whatever the server does. What should be bounded: its highest
// sample.
//
// Pure. Thread safety: none. Units: as named.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace muster::bench {

struct Sample {
  absl::Duration at;  // since the soak began
  double resident_bytes = 0;
  double descriptors = 0;
  double disk_bytes = 0;  // of the data directory
  double instances = 0;
  double register_p50_us = 0;
  double register_p99_us = 0;
  double discover_p50_us = 0;
  double discover_p99_us = 0;
  // Single calls without load.
  double register_times_bare = 0;
  double discover_times_empty = 0;
  double server_cpu = 0;  // under load, in seconds a second
};

struct Bounds {
  absl::Duration settled;  // samples before it count for nothing
  double growth = 0.05;
  double disk_bytes = 0;
};

struct Finding {
  std::string what;
  double first = 0;  // bounded: the bound
  double last = 0;   // bounded: the highest
  double growth = 0;
  bool grew = false;
};

// At least three samples after `settled`, or nothing is found: an empty answer.
std::vector<Finding> Judge(const std::vector<Sample>& samples, const Bounds& bounds);

void WriteSample(std::ostream& out, const Sample& sample);
void WriteFindings(std::ostream& out, const std::vector<Finding>& findings);

}  // namespace muster::bench

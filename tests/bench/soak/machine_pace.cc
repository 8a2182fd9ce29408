#include "tests/bench/soak/machine_pace.h"

#include "base/thread.h"
#include "tests/bench/measure.h"
#include "tests/bench/requests.h"
#include "tests/bench/yardstick/yardstick.h"

namespace muster::bench {
namespace {

constexpr size_t kInstances = 10'000;
constexpr size_t kServices = 1'000;
constexpr size_t kInFlight = 64;
// Little beside the churn, and enough for a median.
constexpr double kWritesPerSecond = 100;
constexpr double kCallsPerSecond = 500;

}  // namespace

MachinePace::MachinePace(const ServerProcess& yardstick)
    : writing_(yardstick.address(), 1, 1),
      reading_(yardstick.address(), 1, 1),
      rewrites_(Rewrites(kInstances, kServices)) {}

absl::Status MachinePace::Run(absl::Duration duration, Sample* sample) {
  absl::StatusOr<LoadResult> written = absl::UnknownError("");
  absl::StatusOr<LoadResult> called = absl::UnknownError("");
  {
    const base::NamedThread writing("pace-writing", [&] {
      written = writing_.Call({.method = kYardstickRegister,
                               .in_flight = kInFlight,
                               .request = rewrites_,
                               .per_second = kWritesPerSecond},
                              duration);
    });
    called = reading_.Call({.method = kYardstickEmpty,
                            .in_flight = kInFlight,
                            .request = Same(""),
                            .per_second = kCallsPerSecond},
                           duration);
  }
  if (!written.ok()) return written.status();
  if (!called.ok()) return called.status();
  sample->bare_register_p50_us = absl::ToDoubleMicroseconds(written->latency.Quantile(0.5));
  sample->empty_call_p50_us = absl::ToDoubleMicroseconds(called->latency.Quantile(0.5));
  return absl::OkStatus();
}

}  // namespace muster::bench

// The load of a soak: instances that stay and are kept alive, and instances that come and go.
//
//   auto churn = Churn::Start(*server, options);
//   churn->Run(absl::Seconds(30), &sample);   // again and again
//   churn->End();                             // what came is gone, what stays is there
//
// Half load: what Register alone and Discover alone reach in a closed loop is measured first. A
// quarter of the one is shared by registrations and removals, a quarter of the other is discovers.
// Of the registrations one half is deregistered some seconds later, the other half expires. Beside
// that: KeepAlive streams that renew each staying lease twice in a Run, and watches.
//
// Thread safety: one thread uses it. Errors: the first call that fails, or is answered wrongly,
// ends a Run.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/bench/fixture.h"
#include "tests/bench/load.h"
#include "tests/bench/servers.h"
#include "tests/bench/soak/judge.h"
#include "tests/bench/soak/watchers.h"

namespace muster::bench {

struct ChurnOptions {
  size_t staying = 50'000;
  size_t services = 2'000;
  absl::Duration calibration = absl::Seconds(5);  // for each of the two
  // Of those that expire, and how long the others are there before they are deregistered.
  absl::Duration life = absl::Seconds(10);
  WatcherOptions watchers{};
};

class Churn {
 public:
  // Registers what stays, and measures how fast the server is. The server outlives the churn.
  static absl::StatusOr<std::unique_ptr<Churn>> Start(const ServerProcess& server,
                                                      const ChurnOptions& options);

  // The load for so long; its latencies go into `sample`. REQUIRES: shorter than a minute, the TTL
  // of what stays.
  absl::Status Run(absl::Duration duration, Sample* sample);

  // Removes what is left of what came, and checks that what stays is there and Verify finds it
  // whole.
  absl::Status End();

  double registrations_per_second() const { return registrations_; }
  double discovers_per_second() const { return discovers_; }
  uint64_t watch_messages() const { return watchers_.messages(); }

 private:
  Churn(const ServerProcess& server, const ChurnOptions& options);
  absl::Status Fill();
  absl::Status Calibrate();
  UnaryLoad Registering();
  UnaryLoad Deregistering();
  absl::Status KeepAlive(absl::Duration duration);
  // Number of the instance that came as the n-th.
  size_t NumberOf(uint64_t n) const;

  const ChurnOptions options_;
  Client registering_;
  Client deregistering_;
  Client discovering_;
  Client keeping_;
  Watchers watchers_;
  const NumberedBytes long_lived_;
  const NumberedBytes short_lived_;
  std::vector<uint64_t> handles_;  // of what stays
  double registrations_ = 0;       // a second
  double discovers_ = 0;
  std::atomic<uint64_t> came_{0};
  std::atomic<uint64_t> acknowledged_{0};
  std::atomic<uint64_t> deregistered_{0};
  bool ending_ = false;  // deregister all, whenever they came
};

}  // namespace muster::bench

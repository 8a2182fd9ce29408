// muster_soak [MINUTES]: mixed churn at half load on one musterd, and whether anything grew. Exit
// 0: nothing did; 1: something did; 2: it could not be run, or an answer was wrong.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <iostream>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "tests/bench/soak/churn.h"
#include "tests/bench/soak/judge.h"
#include "tests/bench/soak/probes.h"

namespace muster::bench {
namespace {

// Logs of twice the write buffer, a flush under way, and tables of some tens of MiB.
constexpr double kDiskBytes = 384 << 20;
// Instances that the churn never comes to.
constexpr size_t kFirstProbe = 5'000'000;
constexpr absl::Duration kSettled = absl::Minutes(5);

struct Arguments {
  absl::Duration length;
  absl::Duration every = absl::Seconds(30);
  ChurnOptions churn;
  ProbeOptions probes;
  bool quick = false;
};

// Deletions are told for a minute, not an hour, and few blocks are kept in memory, so that both are
// as many as they get before what grows counts. Half of what churns ends by expiry, which the brake
// would take for a cut.
absl::StatusOr<std::shared_ptr<ServerProcess>> StartServer() {
  auto dir = std::make_unique<test::TempDir>();
  const std::string config = dir->path("musterd.yaml");
  std::ofstream(config) << "watch: {tombstone_age: 1m}\nrocksdb: {block_cache_bytes: 8388608}\n"
                           "brake: {share: 0}\n";
  return StartMusterd({"--config", config}, std::move(dir));
}

absl::StatusOr<std::vector<Sample>> Soak(const Arguments& arguments, const ServerProcess& server,
                                         const ServerProcess& yardstick) {
  auto churn = Churn::Start(server, arguments.churn);
  if (!churn.ok()) return churn.status();
  std::cout << "half load: " << (*churn)->registrations_per_second() << " registrations/s, "
            << (*churn)->discovers_per_second() << " discovers/s\n";
  Probes probes(server, yardstick, arguments.probes);
  std::vector<Sample> samples;
  const absl::Time begin = test::Now();
  while (test::Now() - begin < arguments.length) {
    Sample sample;
    const absl::Time began = test::Now();
    const Meter meter(server);
    if (absl::Status status = (*churn)->Run(arguments.every, &sample); !status.ok()) return status;
    sample.server_cpu = absl::FDivDuration(meter.CpuTime(), test::Now() - began);
    const test::Usage usage = test::UsageOf(server.pid());
    sample.at = test::Now() - begin;
    sample.resident_bytes = static_cast<double>(usage.resident_bytes);
    sample.descriptors = static_cast<double>(usage.fds);
    sample.disk_bytes = static_cast<double>(BytesIn(server.data_dir()));
    if (absl::Status status = probes.Run(&sample); !status.ok()) return status;
    WriteSample(std::cout, sample);
    samples.push_back(sample);
  }
  if ((*churn)->watch_messages() == 0) return absl::InternalError("no watcher was told anything");
  if (absl::Status status = (*churn)->End(); !status.ok()) return status;
  return samples;
}

int Run(const Arguments& arguments) {
  const auto server = StartServer();
  if (!server.ok()) {
    std::cerr << "muster_soak: " << server.status() << "\n";
    return 2;
  }
  const auto yardstick = StartYardstick();
  if (!yardstick.ok()) {
    std::cerr << "muster_soak: " << yardstick.status() << "\n";
    return 2;
  }
  const auto samples = Soak(arguments, **server, **yardstick);
  if (!samples.ok()) {
    std::cerr << "muster_soak: " << samples.status() << "\n";
    return 2;
  }
  const auto findings = Judge(
      *samples, {.settled = std::min(kSettled, arguments.length / 3), .disk_bytes = kDiskBytes});
  WriteFindings(std::cout, findings);
  if (arguments.quick) std::cout << "quick: nothing of this is judged\n";
  if (findings.empty()) {
    std::cerr << "muster_soak: too short to tell\n";
    return 2;
  }
  const bool grew = std::any_of(findings.begin(), findings.end(),
                                [](const Finding& finding) { return finding.grew; });
  return grew && !arguments.quick ? 1 : 0;
}

int Main(int argc, char** argv) {
  double minutes = 30;
  Arguments arguments;
  CLI::App app("Mixed churn at half load. Exit 1: memory, descriptors, latency or disk grew.",
               "muster_soak");
  app.add_option("MINUTES", minutes, "How long; what grows before minute 5 does not count")
      ->check(CLI::Range(2.0, 24.0 * 60))
      ->capture_default_str();
  app.add_flag("--quick", arguments.quick,
               "Some seconds, small: proves that it works, judges nothing");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  arguments.length = absl::Minutes(minutes);
  if (arguments.quick) {
    arguments.length = absl::Seconds(3);
    arguments.every = absl::Milliseconds(500);
    arguments.churn = {.staying = 1'000,
                       .services = 100,
                       .calibration = absl::Milliseconds(200),
                       .life = absl::Seconds(1),
                       .watchers = {.streams = 4, .services_each = 25, .services = 100}};
    arguments.probes = {.burst = absl::Milliseconds(5), .turns = 2};
  }
  arguments.probes.services = arguments.churn.services;
  arguments.probes.first = kFirstProbe;
  return Run(arguments);
}

}  // namespace
}  // namespace muster::bench

int main(int argc, char** argv) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);  // as musterd
  return muster::bench::Main(argc, argv);
}

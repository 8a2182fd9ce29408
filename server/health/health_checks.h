// HealthChecks: the room as a whole. Follows which checks there are, runs them on a thread of its
// own, and proposes what they find.
//
//   HealthChecks health(engine, registry, clock, rng, options);   // before Engine::Open
//   engine.Open({&applier, &health.sink()});
//   health.Start();    // once replay is over
//   health.Stop();     // before the engine is closed
//
// Thread safety: all members. Ownership: engine, registry, clock and rng outlive it.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/rng.h"
#include "muster/config/v1/config.pb.h"
#include "server/core/registry.h"
#include "server/health/check_scheduler.h"
#include "server/health/probe_descriptors.h"
#include "storage/engine.h"

namespace muster::health {

struct HealthOptions {
  // allow, ports, ca; max_probes as it is: 0 = nothing is probed.
  config::v1::Health config;
  // The gRPC listener is on loopback, so targets may be.
  bool loopback_ok = false;
  ProbeDescriptors descriptors{};
};

class HealthChecks {
 public:
  // Errors: as of ProberFactory::Create.
  static absl::StatusOr<std::unique_ptr<HealthChecks>> Create(storage::Engine& engine,
                                                              core::Registry& registry,
                                                              const base::Clock& clock,
                                                              base::Rng& rng,
                                                              HealthOptions options);
  ~HealthChecks();

  // What Create would say of the files that the configuration names.
  static absl::Status CheckFiles(const config::v1::Health& config);

  storage::CommitSink& sink();
  void Start();
  // Ends all probes. Idempotent.
  void Stop();

  // As of the last half second.
  SchedulerCounts counts() const;

 private:
  struct Inside;
  explicit HealthChecks(std::unique_ptr<Inside> inside);
  const std::unique_ptr<Inside> inside_;
};

}  // namespace muster::health

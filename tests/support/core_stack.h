// The core on a memory engine in one thread: time moves by hand, writes happen in Run().
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/fake_clock.h"
#include "base/rng.h"
#include "server/core/applier.h"
#include "server/core/catalog.h"
#include "server/core/held_set.h"
#include "server/core/lease_table.h"
#include "server/core/registry.h"
#include "server/core/watch_hub.h"
#include "storage/memory_engine.h"

namespace muster::core {

class CoreStack {
 public:
  // A restart is a new CoreStack on the same clock and store.
  explicit CoreStack(
      base::FakeClock& clock,
      std::shared_ptr<storage::MemoryStore> store = std::make_shared<storage::MemoryStore>(),
      RegistryOptions options = {})
      : clock(clock),
        leases(clock, rng, {}),
        applier(catalog, leases, hub),
        engine({.clock = clock, .rng = rng, .threaded = false}, std::move(store)),
        registry(engine, catalog, leases, held, clock, options) {
    EXPECT_TRUE(engine.Open({&applier}).ok());
    leases.SetLoaded();
  }
  ~CoreStack() { engine.Close(); }

  void Run() { engine.RunPending(); }

  // Moves time in steps of a ticker's 100 ms, expiring what falls due.
  void Advance(absl::Duration d) {
    for (; d > absl::ZeroDuration(); d -= absl::Milliseconds(100)) {
      clock.Advance(std::min(d, absl::Milliseconds(100)));
      leases.Tick();
      do {
        Run();
      } while (registry.ExpireDue() > 0);
      held.Refresh();
    }
  }

  absl::StatusOr<Registered> Register(const v1::RegisterRequest& request) {
    std::optional<absl::StatusOr<Registered>> out;
    registry.Register(request, {}, [&](auto result) { out = std::move(result); });
    Run();
    return out ? *out : absl::InternalError("no answer");
  }
  absl::StatusOr<v1::DeregisterResponse> Deregister(const v1::DeregisterRequest& request) {
    std::optional<absl::StatusOr<v1::DeregisterResponse>> out;
    registry.Deregister(request, [&](auto result) { out = std::move(result); });
    Run();
    return out ? *out : absl::InternalError("no answer");
  }
  absl::StatusOr<v1::ReportHealthResponse> Report(const v1::ReportHealthRequest& request) {
    std::optional<absl::StatusOr<v1::ReportHealthResponse>> out;
    registry.ReportHealth(request, [&](auto result) { out = std::move(result); });
    Run();
    return out ? *out : absl::InternalError("no answer");
  }
  v1::HeartbeatResponse::Outcome Beat(uint64_t handle) {
    v1::HeartbeatRequest request;
    request.add_lease_handles(handle);
    auto response = registry.Heartbeat(request);
    return response.ok() ? response->outcomes(0) : v1::HeartbeatResponse::OUTCOME_UNSPECIFIED;
  }
  std::shared_ptr<const ServiceView> View(const std::string& service) const {
    const auto info = catalog.Get("default", service);
    return info ? info->view : nullptr;
  }

  base::FakeClock& clock;
  base::SeededRng rng{1};
  Catalog catalog;
  WatchHub hub;
  LeaseTable leases;
  HeldSet held{catalog, leases, hub, clock};
  Applier applier;
  storage::MemoryEngine engine;
  Registry registry;
};

}  // namespace muster::core

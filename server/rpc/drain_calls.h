// DrainCalls: calls of Drain, from their arrival to their answer. The instance is DRAINING first;
// then those who watch its service are waited for (drains.h).
//
// Thread safety: all members. Ownership: all references outlive it, and it outlives its calls.
// Errors: those of core::Registry::Drain; INVALID_ARGUMENT; RESOURCE_EXHAUSTED while too many wait;
// UNAVAILABLE (DRAINING) when the server stops, though the instance may be DRAINING by then.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "base/clock.h"
#include "base/executor.h"
#include "server/core/registry.h"
#include "server/rpc/unary.h"

namespace muster::rpc {

class WatchPump;

class DrainCalls {
 public:
  // `executor`: the pump's. `room`: OK while one more call may wait.
  DrainCalls(WatchPump& pump, base::SerialExecutor& executor, const base::Clock& clock,
             std::function<absl::Status()> room);

  void Begin(core::Registry& registry, const UnaryCall& call, const v1::DrainRequest& request);
  // Every 100 ms or so: ends those whose time is over.
  void Tick();
  // Ends all, and all later ones.
  void EndAll(const absl::Status& status);

  // Calls that aren't answered yet.
  uint64_t open() const { return open_.load(); }

 private:
  struct Call;
  void Settled(const Call& call, absl::StatusOr<core::Drained> drained);

  WatchPump& pump_;
  base::SerialExecutor& executor_;
  const base::Clock& clock_;
  const std::function<absl::Status()> room_;
  std::atomic<uint64_t> open_{0};
};

}  // namespace muster::rpc

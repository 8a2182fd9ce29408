// ServerState: the phase that every handler asks about first.
//
// Thread safety: all members.
#pragma once

#include <atomic>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/errors.h"

namespace muster::rpc {

enum class Phase { kLoading, kServing, kDraining };

class ServerState {
 public:
  Phase phase() const { return phase_.load(std::memory_order_acquire); }
  void SetPhase(Phase phase) { phase_.store(phase, std::memory_order_release); }

  // OK while serving; else UNAVAILABLE with LOADING or DRAINING and a delay.
  absl::Status CheckServing() const {
    switch (phase()) {
      case Phase::kLoading:
        return base::WithRetryAfter(
            base::MakeError(absl::StatusCode::kUnavailable, base::Reason::kLoading,
                            "the server is loading its store"),
            absl::Seconds(1));
      case Phase::kDraining:
        return base::WithRetryAfter(
            base::MakeError(absl::StatusCode::kUnavailable, base::Reason::kDraining,
                            "the server is stopping"),
            absl::Milliseconds(100));
      default:
        return absl::OkStatus();
    }
  }

 private:
  std::atomic<Phase> phase_{Phase::kLoading};
};

}  // namespace muster::rpc

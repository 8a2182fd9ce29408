// ServerState: what every handler asks about first: the phase, and whether the store takes writes.
//
// Thread safety: all members.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/errors.h"

namespace muster::rpc {

enum class Phase { kLoading, kServing, kDraining };

class ServerState {
 public:
  Phase phase() const { return phase_.load(std::memory_order_acquire); }
  void SetPhase(Phase phase) { phase_.store(phase, std::memory_order_release); }

  // Since when the store takes no writes; nullopt = it does.
  std::optional<base::SystemTime> frozen_since() const {
    const int64_t us = frozen_since_us_.load(std::memory_order_acquire);
    return us == 0 ? std::nullopt : std::optional(base::SystemTime{us});
  }
  void SetFrozenSince(std::optional<base::SystemTime> since) {
    frozen_since_us_.store(since ? since->us : 0, std::memory_order_release);
  }

  // What is told while the server stops.
  static absl::Status Draining() {
    return base::WithRetryAfter(base::MakeError(absl::StatusCode::kUnavailable,
                                                base::Reason::kDraining, "the server is stopping"),
                                absl::Milliseconds(100));
  }
  // OK while serving; else UNAVAILABLE with LOADING or DRAINING and a delay.
  absl::Status CheckServing() const {
    switch (phase()) {
      case Phase::kLoading:
        return base::WithRetryAfter(
            base::MakeError(absl::StatusCode::kUnavailable, base::Reason::kLoading,
                            "the server is loading its store"),
            absl::Seconds(1));
      case Phase::kDraining:
        return Draining();
      default:
        return absl::OkStatus();
    }
  }

 private:
  std::atomic<Phase> phase_{Phase::kLoading};
  std::atomic<int64_t> frozen_since_us_{0};  // 0 = not
};

}  // namespace muster::rpc

// WatchPump: all Watch streams. One thread owns every subscription; gRPC's threads and the strand
// only enqueue. A stream has one write in flight; when it is done, the session is asked for the
// next message.
//
// Thread safety: all members. Ownership: catalog, held, hub, executor, clock and rng outlive the
// pump; the pump outlives the gRPC server's last call. Stop order: EndAll, shut the server down,
// stop the executor, destroy the pump.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/rng.h"
#include "server/core/catalog.h"
#include "server/core/held_set.h"
#include "server/core/watch_hub.h"
#include "server/rpc/access.h"
#include "server/rpc/calls.h"
#include "server/rpc/watch_session.h"

namespace muster::rpc {

class WatchStream;

struct WatchOptions {
  absl::Duration progress_interval = absl::Seconds(30);
  WatchLimits limits;
};

class WatchPump : public core::ViewListener {
 public:
  WatchPump(const core::Catalog& catalog, const core::HeldSet& held, core::WatchHub& hub,
            base::SerialExecutor& executor, const base::Clock& clock, base::Rng& rng,
            WatchOptions options);
  ~WatchPump() override;

  // A new call.
  void Open(StreamCall& call, const StreamAccess& access);
  // Ends all streams, and those that come later, with this status.
  void EndAll(absl::Status status);
  // Every second or so: progress, clients that stopped reading, and tokens that no longer suffice.
  void Tick();

  uint64_t streams() const { return stream_count_.load(std::memory_order_relaxed); }
  uint64_t subscriptions() const { return subscription_count_.load(std::memory_order_relaxed); }

  // By tasks of the executor only: as Drains::Begin, of whoever watches the service here, and sends
  // them what they are to confirm.
  Drains::Id BeginDrain(Drain drain);
  Drains& drains() { return shared_.drains; }

  void OnServiceChanged(std::string_view service_key) override;
  void OnNamesChanged() override {}

 private:
  friend class WatchStream;
  using StreamPtr = std::shared_ptr<WatchStream>;

  // All below: on the executor.
  void Added(const StreamPtr& stream);
  void Removed(const StreamPtr& stream);
  void Read(const StreamPtr& stream, bool ok);
  void Written(const StreamPtr& stream, bool ok);
  void Cancelled(const StreamPtr& stream);
  void DrainDirty();
  // Each of them has something to be told. Of one service.
  void Send(const std::vector<Subscription*>& subscriptions);
  void RunTick();
  void EndRevoked();
  void SendProgress(WatchStream& stream, storage::Revision revision);
  // Sends what there is to send.
  void Kick(WatchStream& stream);
  void Write(WatchStream& stream, const grpc::ByteBuffer& event);
  void ReadOn(WatchStream& stream);
  void End(WatchStream& stream, const absl::Status& status);
  void Finish(WatchStream& stream);
  // Sends parts of snapshots to whom it is the turn of.
  void TakeTurns();
  void SetProgressTime(WatchStream& stream);

  base::SerialExecutor& executor_;
  base::Rng& rng_;
  const WatchOptions options_;
  WatchShared shared_;
  absl::flat_hash_map<WatchStream*, StreamPtr> streams_;
  std::optional<absl::Status> ended_;

  std::atomic<uint64_t> stream_count_{0};
  std::atomic<uint64_t> subscription_count_{0};

  base::Mutex dirty_mu_;
  absl::flat_hash_set<std::string> dirty_ MUSTER_GUARDED_BY(dirty_mu_);
};

}  // namespace muster::rpc

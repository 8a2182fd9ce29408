// NamesPump: all WatchServices streams: the names first, then those added and removed. A stream
// costs a cursor; when the changes since then are no longer known, all names are sent again.
//
// Thread safety and ownership: as WatchPump, on the same executor.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "base/executor.h"
#include "muster/v1/discovery.pb.h"
#include "server/core/catalog.h"
#include "server/core/watch_hub.h"
#include "server/rpc/access.h"
#include "server/rpc/calls.h"

namespace muster::rpc {

class NamesStream;

class NamesPump : public core::ViewListener {
 public:
  NamesPump(const core::Catalog& catalog, core::WatchHub& hub, base::SerialExecutor& executor);
  ~NamesPump() override;

  // Errors: INVALID_ARGUMENT naming the field; the call ends with it.
  void Open(StreamCall& call, const StreamAccess& access, const v1::WatchServicesRequest& request);
  void EndAll(absl::Status status);
  // Every second or so: ends streams whose tokens no longer suffice.
  void Tick();
  uint64_t streams() const { return stream_count_.load(std::memory_order_relaxed); }

  void OnServiceChanged(std::string_view) override {}
  void OnNamesChanged() override;

 private:
  friend class NamesStream;
  using StreamPtr = std::shared_ptr<NamesStream>;

  // All below: on the executor.
  void Added(const StreamPtr& stream);
  void Removed(const StreamPtr& stream);
  void Written(NamesStream& stream, bool ok);
  void Kick(NamesStream& stream);
  void End(NamesStream& stream, const absl::Status& status);

  const core::Catalog& catalog_;
  core::WatchHub& hub_;
  base::SerialExecutor& executor_;
  absl::flat_hash_map<NamesStream*, StreamPtr> streams_;
  std::optional<absl::Status> ended_;
  std::atomic<uint64_t> stream_count_{0};
  std::atomic<bool> enqueued_{false};
};

}  // namespace muster::rpc

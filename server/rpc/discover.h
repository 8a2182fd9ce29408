// Discover: one answer for one request, as bytes, from the present views.
//
// Thread safety: all members. Cost: independent of how many services there are; endpoints are
// shared with the view, not copied. A checksum for a selector other than the default reads the
// service's whole view.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "muster/v1/discovery.pb.h"
#include "server/core/catalog.h"
#include "server/core/held_set.h"
#include "server/rpc/server_state.h"

namespace muster::rpc {

// Views that somebody pages through, kept for a minute after the last page. When there are too
// many, the one that was asked for longest ago goes.
class PinnedViews {
 public:
  static constexpr size_t kMax = 256;
  static constexpr absl::Duration kKeep = absl::Seconds(60);

  explicit PinnedViews(const base::Clock& clock) : clock_(clock) {}
  void Pin(const std::string& service_key, std::shared_ptr<const core::ServiceView> view);
  // Null when it is gone.
  std::shared_ptr<const core::ServiceView> Get(const std::string& service_key, uint64_t seq);
  void DropOld();
  size_t size() const;

 private:
  struct Pinned {
    std::shared_ptr<const core::ServiceView> view;
    base::SteadyTime until;
  };
  void DropOldLocked() MUSTER_REQUIRES(mu_);

  const base::Clock& clock_;
  mutable base::Mutex mu_;
  absl::flat_hash_map<std::pair<std::string, uint64_t>, Pinned> pinned_ MUSTER_GUARDED_BY(mu_);
};

class Discoverer {
 public:
  static constexpr size_t kPageBytes = 1024 * 1024;

  Discoverer(const core::Catalog& catalog, const core::HeldSet& held, const ServerState& state,
             const base::Clock& clock)
      : catalog_(catalog), held_(held), state_(state), pinned_(clock) {}

  // A serialized v1::DiscoverResponse. `min_revision` is not looked at.
  // Errors: INVALID_ARGUMENT naming the field; ABORTED (PAGE_TOKEN_EXPIRED).
  absl::StatusOr<grpc::ByteBuffer> Answer(const v1::DiscoverRequest& request);

  // The errors of Answer that don't depend on the state.
  static absl::Status Check(const v1::DiscoverRequest& request);

  // Every few seconds.
  void Tick() { pinned_.DropOld(); }
  size_t pinned() const { return pinned_.size(); }

 private:
  // As the request says, or else the service's settings.
  bool Panics(const v1::DiscoverRequest& request, const std::string& service_key) const;

  const core::Catalog& catalog_;
  const core::HeldSet& held_;
  const ServerState& state_;
  PinnedViews pinned_;
};

}  // namespace muster::rpc

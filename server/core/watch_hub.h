// WatchHub: who is to be told that a service changed. No gRPC: a face implements ViewListener.
//
// The strand calls Notify; listeners only enqueue. A watcher of one service costs nothing when
// another changes.
//
// Thread safety: all members.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/mutex.h"

namespace muster::core {

// Called on the strand: enqueue and return. `service_key` as in storage::EncodeServiceKey.
class ViewListener {
 public:
  virtual ~ViewListener() = default;
  virtual void OnServiceChanged(std::string_view service_key) = 0;
  // Names of services were added or removed.
  virtual void OnNamesChanged() = 0;
};

class WatchHub {
 public:
  // A listener is told of each service that it follows at least once.
  void AddListener(ViewListener* listener);
  void RemoveListener(ViewListener* listener);

  // Counts interest in a service; the listener is told of its changes while the count is above 0.
  void Follow(ViewListener* listener, std::string_view service_key);
  void Unfollow(ViewListener* listener, std::string_view service_key);

  // [strand]
  void Notify(std::string_view service_key);
  void NotifyNames();

 private:
  static constexpr size_t kShards = 64;
  struct Shard {
    base::Mutex mu;
    absl::flat_hash_map<std::string, std::vector<std::pair<ViewListener*, uint64_t>>> followers
        MUSTER_GUARDED_BY(mu);
  };
  Shard& ShardOf(std::string_view key);
  std::array<Shard, kShards> shards_;
  base::Mutex listeners_mu_;
  std::vector<ViewListener*> listeners_ MUSTER_GUARDED_BY(listeners_mu_);
};

}  // namespace muster::core

#include "server/core/watch_hub.h"

#include <algorithm>

#include "absl/hash/hash.h"
#include "base/text.h"

namespace muster::core {

WatchHub::Shard& WatchHub::ShardOf(std::string_view key) {
  return shards_[absl::HashOf(base::Av(key)) % kShards];
}

void WatchHub::AddListener(ViewListener* listener) {
  base::MutexLock lock(listeners_mu_);
  listeners_.push_back(listener);
}

void WatchHub::RemoveListener(ViewListener* listener) {
  {
    base::MutexLock lock(listeners_mu_);
    listeners_.erase(std::remove(listeners_.begin(), listeners_.end(), listener), listeners_.end());
  }
  for (Shard& shard : shards_) {
    base::MutexLock lock(shard.mu);
    for (auto& [key, followers] : shard.followers) {
      std::erase_if(followers, [&](const auto& f) { return f.first == listener; });
    }
    absl::erase_if(shard.followers, [](const auto& entry) { return entry.second.empty(); });
  }
}

void WatchHub::Follow(ViewListener* listener, std::string_view service_key) {
  Shard& shard = ShardOf(service_key);
  base::MutexLock lock(shard.mu);
  auto& followers = shard.followers[std::string(service_key)];
  for (auto& [who, count] : followers) {
    if (who == listener) {
      ++count;
      return;
    }
  }
  followers.emplace_back(listener, 1);
}

void WatchHub::Unfollow(ViewListener* listener, std::string_view service_key) {
  Shard& shard = ShardOf(service_key);
  base::MutexLock lock(shard.mu);
  const auto it = shard.followers.find(base::Av(service_key));
  if (it == shard.followers.end()) return;
  std::erase_if(it->second, [&](auto& f) { return f.first == listener && --f.second == 0; });
  if (it->second.empty()) shard.followers.erase(it);
}

void WatchHub::Notify(std::string_view service_key) {
  Shard& shard = ShardOf(service_key);
  base::MutexLock lock(shard.mu);
  if (shard.followers.empty()) return;
  const auto it = shard.followers.find(base::Av(service_key));
  if (it == shard.followers.end()) return;
  for (auto& [listener, count] : it->second) listener->OnServiceChanged(service_key);
}

void WatchHub::NotifyNames() {
  base::MutexLock lock(listeners_mu_);
  for (ViewListener* listener : listeners_) listener->OnNamesChanged();
}

}  // namespace muster::core

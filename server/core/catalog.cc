#include "server/core/catalog.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/strings/match.h"
#include "base/text.h"

namespace muster::core {
namespace {

constexpr size_t kMaxNameChanges = 65536;

}  // namespace

Catalog::Shard& Catalog::ShardOf(std::string_view key) const {
  return shards_[absl::HashOf(base::Av(key)) % kShards];
}

std::shared_ptr<const ServiceInfo> Catalog::Get(std::string_view ns,
                                                std::string_view service) const {
  return GetByKey(storage::EncodeServiceKey(ns, service));
}

std::shared_ptr<const ServiceInfo> Catalog::GetByKey(std::string_view service_key) const {
  Shard& shard = ShardOf(service_key);
  base::MutexLock lock(shard.mu);
  const auto it = shard.services.find(base::Av(service_key));
  return it == shard.services.end() ? nullptr : it->second;
}

void Catalog::List(
    std::string_view ns, std::string_view prefix, std::string_view after,
    const std::function<bool(const std::shared_ptr<const ServiceInfo>&)>& visit) const {
  const bool all = ns == "*";
  // With one namespace, names of a prefix stand together; with all, each is looked at.
  const std::string first = all ? std::string() : storage::EncodeServiceKey(ns, prefix);
  base::MutexLock lock(names_mu_);
  auto it = names_.lower_bound(std::max(first, std::string(after)));
  if (it != names_.end() && !after.empty() && it->first == after) ++it;
  for (; it != names_.end(); ++it) {
    if (!all && !absl::StartsWith(it->first, first)) return;
    if (all && !absl::StartsWith(it->second->service, base::Av(prefix))) continue;
    if (!visit(it->second)) return;
  }
}

bool Catalog::NameChangesSince(uint64_t from_seq, std::vector<NameChange>& out) const {
  base::MutexLock lock(names_mu_);
  if (from_seq < name_changes_from_) return false;
  const auto first = std::partition_point(name_changes_.begin(), name_changes_.end(),
                                          [&](const NameChange& c) { return c.seq <= from_seq; });
  // From the last back: only the last word on a name counts.
  absl::flat_hash_set<std::string> said;
  const auto begin = static_cast<std::ptrdiff_t>(out.size());
  for (auto it = name_changes_.end(); it != first;) {
    --it;
    if (said.insert(storage::EncodeServiceKey(it->ns, base::AsciiLower(it->display))).second) {
      out.push_back(*it);
    }
  }
  std::reverse(out.begin() + begin, out.end());
  return true;
}

storage::Revision Catalog::revision() const {
  base::MutexLock lock(revision_mu_);
  return revision_;
}

uint64_t Catalog::service_count() const {
  base::MutexLock lock(names_mu_);
  return names_.size();
}

uint64_t Catalog::instance_count() const {
  base::MutexLock lock(names_mu_);
  return instances_;
}

uint64_t Catalog::tombstone_count() const {
  base::MutexLock lock(names_mu_);
  return tombstones_;
}

uint64_t Catalog::WaitApplied(uint64_t seq, std::function<void()> done) {
  {
    base::MutexLock lock(revision_mu_);
    if (revision_.seq < seq) {
      const uint64_t id = next_wait_id_++;
      waiters_.emplace(std::pair(seq, id), std::move(done));
      return id;
    }
  }
  done();
  return 0;
}

void Catalog::CancelWait(uint64_t id) {
  base::MutexLock lock(revision_mu_);
  for (auto it = waiters_.begin(); it != waiters_.end(); ++it) {
    if (it->first.second == id) {
      waiters_.erase(it);
      return;
    }
  }
}

void Catalog::Publish(std::shared_ptr<const ServiceInfo> info) {
  const std::string key = storage::EncodeServiceKey(info->ns, info->service);
  {
    base::MutexLock lock(names_mu_);
    auto& slot = names_[key];
    if (slot == nullptr) {
      name_changes_.push_back({info->view->seq(), info->ns, info->display, true});
    } else {
      instances_ -= slot->view->size();
      tombstones_ -= slot->view->tombstone_count();
    }
    instances_ += info->view->size();
    tombstones_ += info->view->tombstone_count();
    slot = info;
    if (name_changes_.size() > kMaxNameChanges) {
      const auto half = name_changes_.begin() + kMaxNameChanges / 2;
      name_changes_from_ = (half - 1)->seq;
      name_changes_.erase(name_changes_.begin(), half);
    }
  }
  Shard& shard = ShardOf(key);
  base::MutexLock lock(shard.mu);
  shard.services[key] = std::move(info);
}

void Catalog::Forget(std::string_view ns, std::string_view service, uint64_t seq) {
  const std::string key = storage::EncodeServiceKey(ns, service);
  {
    base::MutexLock lock(names_mu_);
    const auto it = names_.find(key);
    if (it == names_.end()) return;
    instances_ -= it->second->view->size();
    tombstones_ -= it->second->view->tombstone_count();
    name_changes_.push_back({seq, it->second->ns, it->second->display, false});
    names_.erase(it);
  }
  Shard& shard = ShardOf(key);
  base::MutexLock lock(shard.mu);
  shard.services.erase(key);
}

void Catalog::SetRevision(storage::Revision revision) {
  std::vector<std::function<void()>> ready;
  {
    base::MutexLock lock(revision_mu_);
    revision_ = revision;
    while (!waiters_.empty() && waiters_.begin()->first.first <= revision.seq) {
      ready.push_back(std::move(waiters_.begin()->second));
      waiters_.erase(waiters_.begin());
    }
  }
  for (auto& done : ready) done();
}

void Catalog::ResetNameChanges(uint64_t seq) {
  base::MutexLock lock(names_mu_);
  name_changes_.clear();
  name_changes_.shrink_to_fit();
  name_changes_from_ = seq;
}

}  // namespace muster::core

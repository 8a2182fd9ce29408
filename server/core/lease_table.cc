#include "server/core/lease_table.h"

#include <algorithm>
#include <iterator>

#include "absl/hash/hash.h"
#include "base/text.h"

namespace muster::core {
namespace {

constexpr uint64_t kExpiring = 1;
constexpr int64_t kWheelTickUs = 100'000;
constexpr size_t kWheelSlots = 4096;  // 410 s ahead
constexpr int64_t kMaxTickGapUs = 1'000'000;
// What a tick moves lease time by when the gap before it does not count.
constexpr int64_t kNormalTickUs = 100'000;

uint64_t WordOf(int64_t deadline_us) { return static_cast<uint64_t>(deadline_us) << 1; }
int64_t DeadlineOf(uint64_t word) { return static_cast<int64_t>(word >> 1); }
bool IsExpiring(uint64_t word) { return (word & kExpiring) != 0; }

int64_t TtlUs(const Lease& lease) { return absl::ToInt64Microseconds(lease.spec().ttl); }

template <typename F>
void ForEachHandle(const LeaseSpec& spec, F f) {
  if (spec.incarnation != 0) f(spec.incarnation);
  for (const Superseded& old : spec.superseded) {
    if (old.incarnation != 0) f(old.incarnation);
  }
}

// The top bits: the maps in the shards use the others.
size_t ShardIndex(uint64_t hash) { return hash >> 58; }

}  // namespace

LeaseTable::LeaseTable(const base::Clock& clock, base::Rng& rng, Options options)
    : clock_(clock),
      rng_(rng),
      options_(options),
      cap_us_(clock.Steady().us + kMaxTickGapUs),
      last_tick_us_(clock.Steady().us),
      wheel_(clock.Steady().us, kWheelTickUs, kWheelSlots) {
  static_assert(kShards == 64, "ShardIndex gives six bits");
}

LeaseTable::Shard& LeaseTable::ShardOf(std::string_view key) const {
  return shards_[ShardIndex(absl::HashOf(base::Av(key)))];
}

LeaseTable::HandleShard& LeaseTable::HandleShardOf(uint64_t handle) const {
  return handles_[ShardIndex(handle * 0x9E3779B97F4A7C15)];
}

int64_t LeaseTable::Now() const {
  return std::min(clock_.Steady().us - gap_us_.load(), cap_us_.load());
}

void LeaseTable::Tick() {
  const int64_t steady = clock_.Steady().us;
  const int64_t passed = steady - last_tick_us_.load();
  // The gap grows before the cap moves: a reader in between sees too early a time, never too late.
  if (passed > kMaxTickGapUs) gap_us_ += passed - kNormalTickUs;
  cap_us_ = steady - gap_us_.load() + kMaxTickGapUs;
  last_tick_us_ = steady;
}

// Renewals

Renewal LeaseTable::RenewLease(const Lease& lease) const {
  uint64_t word = lease.word_.load();
  const uint64_t renewed = lease.permanent() ? 0 : WordOf(Now() + TtlUs(lease));
  do {
    if (IsExpiring(word)) return {RenewOutcome::kUnknown};
    if (word == 0 && !lease.permanent()) break;  // restored: its TTL begins with SetLoaded
  } while (!lease.word_.compare_exchange_weak(word, renewed));
  return {RenewOutcome::kRenewed, lease.spec().ttl};
}

Renewal LeaseTable::Renew(std::string_view key, uint64_t incarnation) {
  if (!loaded_.load()) return {RenewOutcome::kLoading};
  Shard& shard = ShardOf(key);
  base::MutexLock lock(shard.mu);
  const auto it = shard.by_key.find(key);
  if (it == shard.by_key.end()) return {RenewOutcome::kUnknown};
  const Lease& lease = *it->second;
  if (incarnation != 0 && incarnation < lease.spec().incarnation) return {RenewOutcome::kStale};
  if (incarnation > lease.spec().incarnation) return {RenewOutcome::kUnknown};
  return RenewLease(lease);
}

Renewal LeaseTable::RenewHandle(uint64_t handle) {
  if (!loaded_.load()) return {RenewOutcome::kLoading};
  std::shared_ptr<const Lease> lost;
  {
    HandleShard& shard = HandleShardOf(handle);
    base::MutexLock lock(shard.mu);
    const auto it = shard.by_handle.find(handle);
    if (it == shard.by_handle.end()) return {RenewOutcome::kUnknown};
    if (it->second->spec().incarnation != handle) return {RenewOutcome::kStale};
    const Renewal renewal = RenewLease(*it->second);
    if (renewal.outcome == RenewOutcome::kRenewed) return renewal;
    lost = it->second;
  }
  // Expiring, or replaced by a lease that the handle doesn't point to yet.
  return Renew(lost->spec().key, handle);
}

bool LeaseTable::Renew(const Lease& lease) {
  return RenewLease(lease).outcome == RenewOutcome::kRenewed;
}

std::shared_ptr<const Lease> LeaseTable::Find(std::string_view key) const {
  const Shard& shard = ShardOf(key);
  base::MutexLock lock(shard.mu);
  const auto it = shard.by_key.find(key);
  return it == shard.by_key.end() ? nullptr : it->second;
}

absl::Duration LeaseTable::Remaining(const Lease& lease) const {
  if (lease.permanent()) return absl::ZeroDuration();
  const int64_t left = DeadlineOf(lease.word_.load()) - Now();
  return absl::Microseconds(std::max<int64_t>(left, 0));
}

int64_t LeaseTable::DeadlineUs(const Lease& lease) {
  return lease.permanent() ? 0 : DeadlineOf(lease.word_.load());
}

// Membership

void LeaseTable::Put(LeaseSpec spec, bool keep_deadline) {
  const auto lease = std::make_shared<Lease>(std::move(spec));
  std::shared_ptr<Lease> old;
  {
    Shard& shard = ShardOf(lease->spec().key);
    base::MutexLock lock(shard.mu);
    int64_t deadline = lease->permanent() ? 0 : Now() + TtlUs(*lease);
    if (const auto it = shard.by_key.find(lease->spec().key); it != shard.by_key.end()) {
      old = std::move(it->second);
      shard.by_key.erase(it);  // its key lives in the old lease
      const uint64_t word = old->word_.fetch_or(kExpiring);
      if (keep_deadline && !lease->permanent() && !old->permanent()) deadline = DeadlineOf(word);
    }
    lease->word_ = WordOf(deadline);
    shard.by_key.emplace(lease->spec().key, lease);
    if (deadline != 0) File(lease, deadline);
  }
  SetHandles(lease);
  if (old != nullptr) {
    DropHandles(old);
  } else {
    ++size_;
  }
}

void LeaseTable::Erase(std::string_view key) {
  std::shared_ptr<Lease> old;
  {
    Shard& shard = ShardOf(key);
    base::MutexLock lock(shard.mu);
    const auto it = shard.by_key.find(key);
    if (it == shard.by_key.end()) return;
    old = std::move(it->second);
    shard.by_key.erase(it);
    old->word_.fetch_or(kExpiring);
  }
  DropHandles(old);
  --size_;
}

void LeaseTable::Restore(LeaseSpec spec) {
  const auto lease = std::make_shared<Lease>(std::move(spec));
  {
    Shard& shard = ShardOf(lease->spec().key);
    base::MutexLock lock(shard.mu);
    shard.by_key.emplace(lease->spec().key, lease);
  }
  SetHandles(lease);
  ++size_;
}

void LeaseTable::SetLoaded() {
  Tick();  // nobody ticks while loading
  for (Shard& shard : shards_) {
    base::MutexLock lock(shard.mu);
    for (const auto& [key, lease] : shard.by_key) {
      if (lease->permanent() || lease->word_.load() != 0) continue;
      const auto spread = static_cast<int64_t>(rng_.Unit() * options_.restart_spread *
                                               static_cast<double>(TtlUs(*lease)));
      const int64_t deadline = Now() + TtlUs(*lease) + spread;
      lease->word_ = WordOf(deadline);
      File(lease, deadline);
    }
  }
  loaded_ = true;
}

void LeaseTable::SetHandles(const std::shared_ptr<Lease>& lease) {
  ForEachHandle(lease->spec(), [&](uint64_t handle) {
    HandleShard& shard = HandleShardOf(handle);
    base::MutexLock lock(shard.mu);
    shard.by_handle.insert_or_assign(handle, lease);
  });
}

void LeaseTable::DropHandles(const std::shared_ptr<Lease>& lease) {
  ForEachHandle(lease->spec(), [&](uint64_t handle) {
    HandleShard& shard = HandleShardOf(handle);
    base::MutexLock lock(shard.mu);
    const auto it = shard.by_handle.find(handle);
    if (it != shard.by_handle.end() && it->second == lease) shard.by_handle.erase(it);
  });
}

std::vector<std::shared_ptr<const Lease>> LeaseTable::All() const {
  std::vector<std::shared_ptr<const Lease>> out;
  out.reserve(size());
  for (const Shard& shard : shards_) {
    base::MutexLock lock(shard.mu);
    for (const auto& [key, lease] : shard.by_key) out.push_back(lease);
  }
  return out;
}

uint64_t LeaseTable::size() const { return size_.load(); }

// Expiry

int64_t LeaseTable::LookAt(const Lease& lease, int64_t deadline_us) const {
  return std::min(deadline_us, Now() + TtlUs(lease));
}

void LeaseTable::File(const std::shared_ptr<Lease>& lease, int64_t deadline_us) {
  const int64_t at = LookAt(*lease, deadline_us);
  base::MutexLock lock(wheel_mu_);
  wheel_.Insert(at, lease);
}

bool LeaseTable::Take(const std::shared_ptr<Lease>& lease, int64_t now_us) {
  uint64_t word = lease->word_.load();
  while (!IsExpiring(word)) {
    const int64_t deadline = DeadlineOf(word);
    if (deadline > now_us) {
      wheel_.Insert(LookAt(*lease, deadline), lease);
      return false;
    }
    if (lease->word_.compare_exchange_weak(word, word | kExpiring)) return true;
  }
  return false;
}

std::vector<std::shared_ptr<const Lease>> LeaseTable::TakeExpired(size_t max) {
  if (!loaded_.load()) return {};
  std::vector<std::pair<uint64_t, std::shared_ptr<const Lease>>> taken;
  {
    base::MutexLock lock(wheel_mu_);
    const int64_t now = Now();
    std::vector<std::weak_ptr<Lease>> fresh;
    wheel_.Advance(now, fresh);
    std::move(fresh.begin(), fresh.end(), std::back_inserter(due_));
    while (!due_.empty() && taken.size() < max) {
      const std::shared_ptr<Lease> lease = due_.front().lock();
      due_.pop_front();
      if (lease != nullptr && Take(lease, now)) taken.emplace_back(lease->word_.load(), lease);
    }
  }
  // The wheel orders them by its ticks already.
  std::sort(taken.begin(), taken.end());
  std::vector<std::shared_ptr<const Lease>> out;
  out.reserve(taken.size());
  for (auto& [word, lease] : taken) out.push_back(std::move(lease));
  return out;
}

void LeaseTable::GiveBack(const Lease& lease, absl::Duration delay) {
  Shard& shard = ShardOf(lease.spec().key);
  base::MutexLock lock(shard.mu);
  const auto it = shard.by_key.find(lease.spec().key);
  if (it == shard.by_key.end() || it->second.get() != &lease) return;
  if (!IsExpiring(lease.word_.load())) return;
  const int64_t deadline = Now() + absl::ToInt64Microseconds(delay);
  lease.word_ = WordOf(deadline);
  File(it->second, deadline);
}

}  // namespace muster::core

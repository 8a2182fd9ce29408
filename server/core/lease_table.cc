#include "server/core/lease_table.h"

#include <algorithm>
#include <iterator>

namespace muster::core {

using base::HashedKey;

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

// How many leases RenewHandles asks the memory for at once.
constexpr size_t kAhead = 32;

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

LeaseTable::Shard& LeaseTable::ShardOf(const HashedKey& key) const {
  return shards_[ShardIndex(key.hash)];
}

LeaseTable::HandleShard& LeaseTable::HandleShardOf(uint64_t handle) const {
  return handles_[ShardIndex(MixOfEight(handle))];
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

Renewal LeaseTable::RenewLease(const Lease& lease, int64_t now_us) const {
  uint64_t word = lease.word_.load();
  const uint64_t renewed = lease.permanent() ? 0 : WordOf(now_us + lease.ttl_us());
  do {
    if (IsExpiring(word)) return {RenewOutcome::kUnknown};
    if (word == 0 && !lease.permanent()) break;  // restored: its TTL begins with SetLoaded
  } while (!lease.word_.compare_exchange_weak(word, renewed));
  return {RenewOutcome::kRenewed, lease.ttl()};
}

Renewal LeaseTable::RenewKey(std::string_view key, uint64_t incarnation, int64_t now_us) {
  const HashedKey hashed(key);
  Shard& shard = ShardOf(hashed);
  base::MutexLock lock(shard.mu);
  const auto it = shard.by_key.find(hashed);
  if (it == shard.by_key.end()) return {RenewOutcome::kUnknown};
  const Lease& lease = **it;
  if (incarnation != 0 && incarnation < lease.incarnation()) return {RenewOutcome::kStale};
  if (incarnation > lease.incarnation()) return {RenewOutcome::kUnknown};
  return RenewLease(lease, now_us);
}

Renewal LeaseTable::Renew(std::string_view key, uint64_t incarnation) {
  if (!loaded_.load()) return {RenewOutcome::kLoading};
  return RenewKey(key, incarnation, Now());
}

Renewal LeaseTable::RenewByHandle(uint64_t handle, int64_t now_us) {
  LeasePtr lost;
  {
    HandleShard& shard = HandleShardOf(handle);
    base::MutexLock lock(shard.mu);
    const auto it = shard.by_handle.find(handle);
    if (it == shard.by_handle.end()) return {RenewOutcome::kUnknown};
    if (it->second->incarnation() != handle) return {RenewOutcome::kStale};
    const Renewal renewal = RenewLease(*it->second, now_us);
    if (renewal.outcome == RenewOutcome::kRenewed) return renewal;
    lost = LeasePtr(it->second);
  }
  // Expiring, or replaced by a lease that the handle doesn't point to yet.
  return RenewKey(lost->key(), handle, now_us);
}

Renewal LeaseTable::RenewHandle(uint64_t handle) {
  if (!loaded_.load()) return {RenewOutcome::kLoading};
  return RenewByHandle(handle, Now());
}

void LeaseTable::RenewHandles(absl::Span<const uint64_t> handles, absl::Span<Renewal> renewals) {
  if (!loaded_.load()) {
    std::fill(renewals.begin(), renewals.end(), Renewal{RenewOutcome::kLoading});
    return;
  }
  const int64_t now = Now();
  for (size_t begin = 0; begin < handles.size(); begin += kAhead) {
    const size_t end = std::min(begin + kAhead, handles.size());
    for (size_t i = begin; i < end; ++i) PrefetchSlot(handles[i]);
    for (size_t i = begin; i < end; ++i) PrefetchLease(handles[i]);
    for (size_t i = begin; i < end; ++i) renewals[i] = RenewByHandle(handles[i], now);
  }
}

void LeaseTable::PrefetchSlot(uint64_t handle) const {
  const HandleShard& shard = HandleShardOf(handle);
  base::MutexLock lock(shard.mu);
  shard.by_handle.prefetch(handle);
}

void LeaseTable::PrefetchLease(uint64_t handle) const {
  const HandleShard& shard = HandleShardOf(handle);
  base::MutexLock lock(shard.mu);
  const auto it = shard.by_handle.find(handle);
  if (it != shard.by_handle.end()) __builtin_prefetch(it->second, 1);
}

bool LeaseTable::Renew(const Lease& lease) {
  return RenewLease(lease, Now()).outcome == RenewOutcome::kRenewed;
}

LeasePtr LeaseTable::Find(const HashedKey& key) const {
  const Shard& shard = ShardOf(key);
  base::MutexLock lock(shard.mu);
  const auto it = shard.by_key.find(key);
  return it == shard.by_key.end() ? nullptr : *it;
}

uint64_t LeaseTable::ModSeqOf(std::string_view key) const {
  const HashedKey hashed(key);
  const Shard& shard = ShardOf(hashed);
  base::MutexLock lock(shard.mu);
  const auto it = shard.by_key.find(hashed);
  return it == shard.by_key.end() ? 0 : (*it)->mod_seq();
}

absl::Duration LeaseTable::Remaining(const Lease& lease) const {
  if (lease.permanent()) return absl::ZeroDuration();
  const int64_t left = DeadlineOf(lease.word_.load()) - Now();
  return absl::Microseconds(std::max<int64_t>(left, 0));
}

bool LeaseTable::IsOverdue(std::string_view key) const {
  const auto lease = Find(key);
  return lease != nullptr && !lease->permanent() && DeadlineOf(lease->word_.load()) <= Now();
}

int64_t LeaseTable::DeadlineUs(const Lease& lease) {
  return lease.permanent() ? 0 : DeadlineOf(lease.word_.load());
}

bool LeaseTable::IsSilent(const Lease& lease, int64_t now_us) {
  const int64_t deadline = DeadlineUs(lease);
  return deadline != 0 && 2 * (now_us - deadline) + lease.ttl_us() > 0;
}

bool LeaseTable::HasDeadline(uint64_t handle, int64_t deadline_us) const {
  const HandleShard& shard = HandleShardOf(handle);
  base::MutexLock lock(shard.mu);
  const auto it = shard.by_handle.find(handle);
  return it != shard.by_handle.end() && it->second->incarnation() == handle &&
         DeadlineUs(*it->second) == deadline_us;
}

void LeaseTable::ForEach(absl::FunctionRef<void(const Lease&)> visit) const {
  // The tables hold pointers: the memory of those to come is asked for in time.
  std::array<const Lease*, kAhead> ahead;
  for (const Shard& shard : shards_) {
    base::MutexLock lock(shard.mu);
    size_t count = 0;
    for (const LeasePtr& lease : shard.by_key) {
      __builtin_prefetch(lease.get());
      const Lease*& place = ahead[count % kAhead];
      if (count++ >= kAhead) visit(*place);
      place = lease.get();
    }
    for (size_t i = count - std::min(count, kAhead); i < count; ++i) visit(*ahead[i % kAhead]);
  }
}

// Membership

// Without a lock: nobody else changes the table.
uint64_t LeaseTable::AppliedModSeq(const HashedKey& key) const MUSTER_NO_THREAD_SAFETY_ANALYSIS {
  const auto& by_key = ShardOf(key).by_key;
  const auto it = by_key.find(key);
  return it == by_key.end() ? 0 : (*it)->mod_seq();
}

void LeaseTable::Put(const LeaseSpec& spec) {
  const LeasePtr lease = Lease::Make(spec);
  LeasePtr old;
  {
    const HashedKey hashed(lease->key());
    Shard& shard = ShardOf(hashed);
    base::MutexLock lock(shard.mu);
    int64_t deadline = lease->permanent() ? 0 : Now() + lease->ttl_us();
    bool is_new = false;
    const auto it = shard.by_key.lazy_emplace(hashed, [&](const auto& emplace) {
      emplace(lease);
      is_new = true;
    });
    if (!is_new) {
      // Its key is the same, so it may stand in the other's place.
      old = std::exchange(const_cast<LeasePtr&>(*it), lease);
      const uint64_t word = old->word_.fetch_or(kExpiring);
      const bool same = old->incarnation_ == lease->incarnation_ &&
                        old->digest_ == lease->digest_ && old->ttl_us() == lease->ttl_us();
      if (same && !lease->permanent()) deadline = DeadlineOf(word);
    }
    lease->word_ = WordOf(deadline);
    if (deadline != 0) File(lease, deadline);
  }
  SetHandles(*lease);
  if (old != nullptr) {
    DropHandles(*old);
  } else {
    ++size_;
  }
}

void LeaseTable::Erase(std::string_view key) {
  LeasePtr old;
  {
    const HashedKey hashed(key);
    Shard& shard = ShardOf(hashed);
    base::MutexLock lock(shard.mu);
    const auto it = shard.by_key.find(hashed);
    if (it == shard.by_key.end()) return;
    old = std::move(shard.by_key.extract(it).value());
    old->word_.fetch_or(kExpiring);
  }
  DropHandles(*old);
  --size_;
}

void LeaseTable::Restore(const LeaseSpec& spec) {
  const LeasePtr lease = Lease::Make(spec);
  {
    const HashedKey hashed(lease->key());
    Shard& shard = ShardOf(hashed);
    base::MutexLock lock(shard.mu);
    shard.by_key.lazy_emplace(hashed, [&](const auto& emplace) { emplace(lease); });
  }
  SetHandles(*lease);
  ++size_;
}

void LeaseTable::SetLoaded() {
  Tick();  // nobody ticks while loading
  // Once: the system's costs a call into the kernel each time. With the incarnation, a lease's
  // share does not depend on its place in a table.
  const uint64_t drawn = rng_.Next();
  for (Shard& shard : shards_) {
    base::MutexLock lock(shard.mu);
    for (const LeasePtr& lease : shard.by_key) {
      if (lease->permanent() || lease->word_.load() != 0) continue;
      const double share = base::SeededRng(drawn ^ lease->incarnation()).Unit();
      const auto spread = static_cast<int64_t>(share * options_.restart_spread *
                                               static_cast<double>(lease->ttl_us()));
      const int64_t deadline = Now() + lease->ttl_us() + spread;
      lease->word_ = WordOf(deadline);
      File(lease, deadline);
    }
  }
  loaded_ = true;
}

void LeaseTable::SetHandles(const Lease& lease) {
  lease.ForEachHandle([&](uint64_t handle) {
    HandleShard& shard = HandleShardOf(handle);
    base::MutexLock lock(shard.mu);
    shard.by_handle.insert_or_assign(handle, &lease);
  });
}

void LeaseTable::DropHandles(const Lease& lease) {
  lease.ForEachHandle([&](uint64_t handle) {
    HandleShard& shard = HandleShardOf(handle);
    base::MutexLock lock(shard.mu);
    const auto it = shard.by_handle.find(handle);
    if (it != shard.by_handle.end() && it->second == &lease) shard.by_handle.erase(it);
  });
}

std::vector<LeasePtr> LeaseTable::All() const {
  std::vector<LeasePtr> out;
  out.reserve(size());
  for (const Shard& shard : shards_) {
    base::MutexLock lock(shard.mu);
    out.insert(out.end(), shard.by_key.begin(), shard.by_key.end());
  }
  return out;
}

uint64_t LeaseTable::size() const { return size_.load(); }

// Expiry

int64_t LeaseTable::LookAt(const Lease& lease, int64_t deadline_us) const {
  return std::min(deadline_us, Now() + lease.ttl_us());
}

void LeaseTable::File(const LeasePtr& lease, int64_t deadline_us) {
  const int64_t at = LookAt(*lease, deadline_us);
  base::MutexLock lock(wheel_mu_);
  wheel_.Insert(at, lease);
}

bool LeaseTable::IsDue(const LeasePtr& lease, int64_t now_us) {
  const uint64_t word = lease->word_.load();
  if (IsExpiring(word)) return false;
  const int64_t deadline = DeadlineOf(word);
  if (deadline <= now_us) return true;
  wheel_.Insert(LookAt(*lease, deadline), lease);
  return false;
}

bool LeaseTable::Expire(const LeasePtr& lease, int64_t now_us) {
  uint64_t word = lease->word_.load();
  do {
    if (IsExpiring(word)) return false;
    if (DeadlineOf(word) > now_us) {
      wheel_.Insert(LookAt(*lease, DeadlineOf(word)), lease);
      return false;
    }
  } while (!lease->word_.compare_exchange_weak(word, word | kExpiring));
  return true;
}

std::vector<LeasePtr> LeaseTable::TakeExpired(size_t max) {
  return TakeExpired(max, [](const Lease&) { return std::nullopt; }).expired;
}

LeaseTable::Due LeaseTable::TakeExpired(size_t max, MayGo may_go) {
  if (!loaded_.load()) return {};
  std::vector<std::pair<int64_t, LeasePtr>> due;
  const int64_t now = Now();
  {
    base::MutexLock lock(wheel_mu_);
    std::vector<LeasePtr> fresh;
    wheel_.Advance(now, fresh);
    std::move(fresh.begin(), fresh.end(), std::back_inserter(due_));
    while (!due_.empty() && due.size() < max) {
      LeasePtr lease = std::move(due_.front());
      due_.pop_front();
      if (IsDue(lease, now)) due.emplace_back(DeadlineUs(*lease), std::move(lease));
    }
  }
  // The wheel orders them by its ticks already. By key, so that chance decides nothing.
  std::sort(due.begin(), due.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : a.second->key() < b.second->key();
  });
  // Asked without the lock: who answers may look into the table.
  std::vector<std::optional<absl::Duration>> kept_for;
  kept_for.reserve(due.size());
  for (const auto& [deadline, lease] : due) kept_for.push_back(may_go(*lease));
  Due out;
  out.expired.reserve(due.size());
  base::MutexLock lock(wheel_mu_);
  for (size_t i = 0; i < due.size(); ++i) {
    LeasePtr& lease = due[i].second;
    if (kept_for[i]) {
      ++out.kept;
      wheel_.Insert(LookAt(*lease, now + absl::ToInt64Microseconds(*kept_for[i])), lease);
    } else if (Expire(lease, now)) {
      out.expired.push_back(std::move(lease));
    }
  }
  return out;
}

size_t LeaseTable::due() const {
  base::MutexLock lock(wheel_mu_);
  return due_.size();
}

void LeaseTable::GiveBack(const Lease& lease, absl::Duration delay) {
  const HashedKey hashed(lease.key());
  Shard& shard = ShardOf(hashed);
  base::MutexLock lock(shard.mu);
  const auto it = shard.by_key.find(hashed);
  if (it == shard.by_key.end() || it->get() != &lease) return;
  if (!IsExpiring(lease.word_.load())) return;
  lease.word_.fetch_and(~kExpiring);
  const int64_t at = Now() + absl::ToInt64Microseconds(delay);
  base::MutexLock wheel_lock(wheel_mu_);
  wheel_.Insert(at, *it);
}

}  // namespace muster::core

// The Registry's upkeep: bounds what is kept of deletions, and forgets services that are long
// empty.
#include <algorithm>
#include <deque>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "server/core/registry.h"

namespace muster::core {
namespace {

using storage::Family;

constexpr size_t kMaxPrunedAtOnce = 256;
// Upkeep is looked for this often, and what is found is done in so many parts, so that what was
// deleted long ago in many services holds up no call.
constexpr absl::Duration kUpkeepEvery = absl::Seconds(10);
constexpr size_t kUpkeepParts = 64;
// So many are listed at a time; meanwhile the strand waits if a service becomes or ceases to be
// one.
constexpr size_t kListedAtOnce = 1024;

// The store's record of a service, with its modify seq; nullopt when there is none.
std::optional<std::pair<uint64_t, storage::v1::ServiceRecord>> ReadService(
    const storage::Engine& engine, const std::string& key) {
  auto value = engine.Get(Family::kServices, key);
  if (!value.ok()) return std::nullopt;
  auto decoded = storage::DecodeValue(*value);
  storage::v1::ServiceRecord record;
  if (!decoded.ok() ||
      !record.ParseFromArray(decoded->payload.data(), static_cast<int>(decoded->payload.size()))) {
    return std::nullopt;
  }
  return std::pair(decoded->mod_seq, std::move(record));
}

// The store's tombstone of a key; nullopt when there is none.
struct StoredTombstone {
  uint64_t seq = 0;
  uint64_t deleted_at_ms = 0;
};
std::optional<StoredTombstone> ReadTombstone(const storage::Engine& engine,
                                             const std::string& key) {
  auto value = engine.Get(Family::kTombstones, key);
  if (!value.ok()) return std::nullopt;
  auto decoded = storage::DecodeValue(*value);
  storage::v1::TombstoneRecord record;
  if (!decoded.ok() ||
      !record.ParseFromArray(decoded->payload.data(), static_cast<int>(decoded->payload.size()))) {
    return std::nullopt;
  }
  return StoredTombstone{decoded->mod_seq, record.deleted_at_ms()};
}

}  // namespace

void Registry::ProposeUpkeep(storage::Unit unit) {
  engine_.Propose({{std::move(unit)}}, storage::WriteClass::kInternal,
                  [this](const std::vector<storage::UnitResult>& results) {
                    using Verdict = storage::UnitResult::Verdict;
                    const Verdict verdict = results.front().verdict;
                    if (verdict != Verdict::kNotCommitted && verdict != Verdict::kUnknown) return;
                    if (upkeep_refused_.exchange(true)) return;
                    base::Log(base::LogLevel::kWarn, "upkeep could not be written",
                              {{"error", std::string(results.front().status.message())}});
                  });
}

void Registry::Maintain() {
  RewriteStrays();
  for (const std::string& service_key : FindUpkeep()) MaintainService(service_key);
}

void Registry::MaintainPart() {
  RewriteStrays();
  const base::SteadyTime now = clock_.Steady();
  // A herd goes first, for a while.
  if (herd_ && now < next_upkeep_ + kUpkeepEvery) return;
  if (upkeep_refused_.exchange(false)) {
    // All of it would be refused: not before the next time.
    upkeep_.clear();
    unfinished_upkeep_.clear();
    next_upkeep_ = now + kUpkeepEvery;
  }
  // When each service had its turn; those that need more than one wait behind.
  if (upkeep_.empty() && now >= next_upkeep_) {
    next_upkeep_ = now + kUpkeepEvery;
    upkeep_ = FindUpkeep();
    unfinished_upkeep_.clear();
    upkeep_part_ = upkeep_.size() / kUpkeepParts + 1;
  }
  // None twice in a part: what it proposed has to be applied first.
  std::deque<std::string> unfinished;
  for (size_t i = 0; i < upkeep_part_; ++i) {
    std::deque<std::string>& from = upkeep_.empty() ? unfinished_upkeep_ : upkeep_;
    if (from.empty()) break;
    std::string service_key = std::move(from.front());
    from.pop_front();
    if (MaintainService(service_key)) unfinished.push_back(std::move(service_key));
  }
  std::move(unfinished.begin(), unfinished.end(), std::back_inserter(unfinished_upkeep_));
}

// The keys of services with deletions, or without instances.
std::deque<std::string> Registry::FindUpkeep() const {
  std::deque<std::string> found;
  for (;;) {
    auto more = catalog_.ListUpkeep(found.empty() ? "" : found.back(), kListedAtOnce);
    const bool last = more.size() < kListedAtOnce;
    std::move(more.begin(), more.end(), std::back_inserter(found));
    if (last) return found;
  }
}

bool Registry::MaintainService(const std::string& service_key) {
  const auto info = catalog_.GetByKey(service_key);
  if (!info) return false;
  const auto now_ms = static_cast<uint64_t>(clock_.System().us / 1000);
  const bool more = Prune(*info, now_ms);
  Forget(*info, now_ms);
  return more;
}

// Drops the oldest tombstones of a service that has too many or too old ones, and raises its floor.
// True: there may be more of them.
bool Registry::Prune(const ServiceInfo& info, uint64_t now_ms) {
  const ServiceView& view = *info.view;
  const std::string& ns = info.identity->ns;
  const std::string& service = info.identity->service;
  const size_t allowed = std::max(options_.tombstones_per_service, view.size());
  const size_t excess = view.tombstone_count() > allowed ? view.tombstone_count() - allowed : 0;
  // An empty service keeps its last deletions for as long as it is known at all.
  const absl::Duration age = view.size() == 0
                                 ? std::max(options_.tombstone_age, options_.forget_empty_after)
                                 : options_.tombstone_age;
  const auto age_ms = static_cast<uint64_t>(absl::ToInt64Milliseconds(age));
  storage::Unit unit;
  uint64_t floor = 0;
  size_t count = 0;
  for (const auto& chunk : view.tombstones()) {
    for (const Tombstone& t : *chunk) {
      const std::string key = storage::EncodeInstanceKey(ns, service, t.node, t.id);
      // A key that came back has no tombstone in the store, or a newer one later in the list; or
      // one that its next removal overwrites, when it came back just as it was removed.
      const bool back = leases_.ModSeqOf(key) != 0;
      const auto stored = back ? std::nullopt : ReadTombstone(engine_, key);
      const bool same = stored && stored->seq == t.seq;
      if (count >= kMaxPrunedAtOnce ||
          (count >= excess && same && stored->deleted_at_ms + age_ms > now_ms)) {
        break;
      }
      ++count;
      floor = t.seq;
      if (!same) continue;
      unit.preconditions.push_back(storage::ModSeqIs(Family::kTombstones, key, t.seq));
      unit.ops.push_back(storage::Delete(Family::kTombstones, key));
    }
    if (count >= kMaxPrunedAtOnce || floor != chunk->back().seq) break;
  }
  if (count == 0) return false;
  const std::string key = storage::EncodeServiceKey(ns, service);
  auto record = ReadService(engine_, key);
  if (!record) return false;
  record->second.set_floor(std::max(record->second.floor(), floor));
  unit.preconditions.push_back(storage::ModSeqIs(Family::kServices, key, record->first));
  unit.ops.push_back(storage::Put(Family::kServices, key,
                                  storage::EncodeValue(record->second.SerializeAsString())));
  ProposeUpkeep(std::move(unit));
  return count >= kMaxPrunedAtOnce;
}

// Forgets a service without instances once its deletions are gone and it is old enough.
void Registry::Forget(const ServiceInfo& info, uint64_t now_ms) {
  const auto after_ms =
      static_cast<uint64_t>(absl::ToInt64Milliseconds(options_.forget_empty_after));
  if (info.view->size() > 0 || info.view->tombstone_count() > 0) return;
  const ServiceIdentity& identity = *info.identity;
  if (identity.settings != nullptr) return;
  if (identity.created_at_ms + after_ms > now_ms) return;
  const std::string key = storage::EncodeServiceKey(identity.ns, identity.service);
  storage::Unit unit;
  unit.preconditions.push_back(storage::ModSeqIs(Family::kServices, key, identity.mod_seq));
  unit.ops.push_back(storage::Delete(Family::kServices, key));
  unit.ops.push_back(
      storage::Put(Family::kMeta, std::string(storage::kForgottenKey), storage::EncodeValue("")));
  ProposeUpkeep(std::move(unit));
}

}  // namespace muster::core

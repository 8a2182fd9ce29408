#include "server/core/catalog.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "base/huge_pages.h"
#include "base/text.h"
#include "server/core/catalog_hints.h"

namespace muster::core {

using base::HashedKey;

namespace {

constexpr size_t kMaxNameChanges = 65536;

// From so many services on, they are not in the caches.
constexpr size_t kManyServices = 10'000;

}  // namespace

// One block of memory, so that whoever looks for a name waits for one. The first part is guarded by
// the mutex of the shard, but written by the strand alone.
struct Catalog::Slot {
  Shard& shard;
  ServiceInfo info;
  // The view's first, or null. Each of these is found through the one before, and in a large
  // catalog none of it is in a cache: asked for all at once, it comes in the time of one.
  const Leaf* leaf = nullptr;
  // Of the info, for those that need no more of it.
  uint64_t mod_seq = 0;
  bool has_instances = false;
  bool has_tombstones = false;
  bool plain = false;  // display is the service
  bool has_settings = false;
  absl::Duration default_ttl = absl::ZeroDuration();  // of them

  uint32_t mark = 0;        // the strand's
  const uint32_t key_size;  // the key's bytes stand behind the object
  const size_t hash;        // of the key

  // `now` gets what was.
  void Set(ServiceInfo& now) {
    if (now.identity != nullptr) {
      info.identity.swap(now.identity);
      mod_seq = info.identity->mod_seq;
      plain = info.identity->display == info.identity->service;
      has_settings = info.identity->settings != nullptr;
      default_ttl = DefaultTtlOf(info.identity->settings.get());
    }
    info.view.swap(now.view);
    has_instances = info.view->size() > 0;
    has_tombstones = info.view->tombstone_count() > 0;
    leaf = info.view->leaves().empty() ? nullptr : info.view->leaves().front().leaf.get();
  }
  [[gnu::always_inline]] void PrefetchView() const { PrefetchEndpointsOf(info.view.get(), leaf); }

  bool for_upkeep() const { return has_tombstones || (!has_instances && !has_settings); }

  std::string_view key() const { return {reinterpret_cast<const char*>(this + 1), key_size}; }
  static SlotPtr Make(const HashedKey& key, Shard& shard, ServiceInfo info) {
    void* const block = base::AllocateKept(sizeof(Slot) + key.text.size());
    SlotPtr slot(new (block) Slot{
        .shard = shard, .key_size = static_cast<uint32_t>(key.text.size()), .hash = key.hash});
    slot->Set(info);
    std::memcpy(static_cast<void*>(slot.get() + 1), key.text.data(), key.text.size());
    return slot;
  }
};

void Catalog::SetHint(const Slot& slot) {
  if (own_hints_ == nullptr) return;
  own_hints_->Set(slot.hash, &slot, slot.info.view.get(), slot.leaf);
}

void Catalog::SlotDelete::operator()(Slot* slot) const {
  slot->~Slot();
  base::FreeKept(slot);
}

Catalog::Shard::Shard() = default;
Catalog::Shard::~Shard() = default;
Catalog::Catalog() = default;
Catalog::~Catalog() = default;

size_t Catalog::SlotHash::operator()(const SlotPtr& slot) const { return slot->hash; }

bool Catalog::SlotEq::operator()(const SlotPtr& a, const SlotPtr& b) const {
  return a->key() == b->key();
}
bool Catalog::SlotEq::operator()(const SlotPtr& a, const HashedKey& b) const {
  // The object and its key may stand in two lines.
  __builtin_prefetch(a.get());
  __builtin_prefetch(a.get() + 1);
  return a->key() == b.text;
}

Catalog::Shard& Catalog::ShardOf(const HashedKey& key) const {
  return shards_[key.hash >> 58];  // the sets in the shards use the other bits
}

template <typename F>
auto Catalog::With(std::string_view key, F found) const {
  const HashedKey hashed(key);
  Shard& shard = ShardOf(hashed);
  base::MutexLock lock(shard.mu);
  shard.services.prefetch(hashed);
  if (const CatalogHints* hints = hints_.load(std::memory_order_acquire))
    hints->Prefetch(hashed.hash);
  const auto it = shard.services.find(hashed);
  return it == shard.services.end() ? decltype(found(**it)){} : found(**it);
}

std::optional<ServiceInfo> Catalog::Get(std::string_view ns, std::string_view service) const {
  return GetByKey(storage::EncodeServiceKey(ns, service));
}

std::optional<ServiceInfo> Catalog::GetByKey(std::string_view service_key) const {
  return With(service_key, [](const Slot& slot) { return std::optional(slot.info); });
}

std::shared_ptr<const ServiceView> Catalog::ViewByKey(std::string_view service_key) const {
  return With(service_key, [](const Slot& slot) {
    slot.PrefetchView();
    return slot.info.view;
  });
}

Catalog::Standing Catalog::StandingOf(std::string_view service_key,
                                      std::string_view spelling) const {
  return With(service_key, [&](const Slot& slot) {
    slot.PrefetchView();
    Standing out{.known = true,
                 .has_instances = slot.has_instances,
                 .has_tombstones = slot.has_tombstones,
                 .display = {},
                 .default_ttl = slot.default_ttl};
    const auto names = storage::DecodeServiceKey(service_key);
    if (slot.plain && names && names->service == spelling) return out;
    const std::string& display = slot.info.identity->display;
    if (display != spelling) out.display = display;
    return out;
  });
}

SettingsPtr Catalog::SettingsOf(std::string_view service_key) const {
  return With(service_key, [](const Slot& slot) { return slot.info.identity->settings; });
}

// Without the lock: nobody else changes the sets.
Catalog::Slot* Catalog::FindSlot(const HashedKey& service_key) MUSTER_NO_THREAD_SAFETY_ANALYSIS {
  const auto& services = ShardOf(service_key).services;
  const auto it = services.find(service_key);
  return it == services.end() ? nullptr : it->get();
}

uint32_t& Catalog::MarkOf(Slot& slot) { return slot.mark; }

uint64_t Catalog::AppliedModSeq(const HashedKey& service_key) const
    MUSTER_NO_THREAD_SAFETY_ANALYSIS {
  const auto& services = ShardOf(service_key).services;
  const auto it = services.find(service_key);
  return it == services.end() ? 0 : (*it)->mod_seq;
}

std::string_view Catalog::KeyOf(const Slot& slot) { return slot.key(); }

const std::shared_ptr<const ServiceIdentity>& Catalog::IdentityOf(const Slot& slot) {
  return slot.info.identity;
}

const std::shared_ptr<const ServiceView>& Catalog::ViewOf(const Slot& slot) {
  return slot.info.view;
}

uint64_t Catalog::List(std::string_view ns, std::string_view prefix, std::string_view after,
                       const std::function<bool(const ServiceInfo&)>& visit) const {
  const bool all = ns == "*";
  // With one namespace, names of a prefix stand together; with all, each is looked at.
  const std::string first = all ? std::string() : storage::EncodeServiceKey(ns, prefix);
  base::MutexLock lock(names_mu_);
  const uint64_t position = name_changes_before_ + name_changes_.size();
  auto it = names_.lower_bound(std::max(std::string_view(first), after));
  if (it != names_.end() && !after.empty() && it->first == after) ++it;
  for (; it != names_.end(); ++it) {
    if (!all && !it->first.starts_with(first)) break;
    const ServiceInfo info = [slot = it->second] {
      base::MutexLock shard_lock(slot->shard.mu);
      return slot->info;
    }();
    if (all && !absl::StartsWith(info.identity->service, base::Av(prefix))) continue;
    if (!visit(info)) break;
  }
  return position;
}

std::optional<uint64_t> Catalog::NameChangesSince(uint64_t position,
                                                  std::vector<NameChange>& out) const {
  base::MutexLock lock(names_mu_);
  if (position < name_changes_before_) return std::nullopt;
  const auto first =
      name_changes_.begin() + static_cast<std::ptrdiff_t>(position - name_changes_before_);
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
  return name_changes_before_ + name_changes_.size();
}

storage::Revision Catalog::revision() const {
  return {epoch_.load(std::memory_order_acquire), seq_.load(std::memory_order_acquire)};
}

uint64_t Catalog::WaitApplied(uint64_t seq, std::function<void()> done) {
  {
    base::MutexLock lock(revision_mu_);
    if (seq_.load(std::memory_order_relaxed) < seq) {
      const uint64_t id = next_wait_id_++;
      waiters_.emplace(std::pair(seq, id), std::move(done));
      return id;
    }
  }
  done();
  return 0;
}

void Catalog::CancelWait(uint64_t seq, uint64_t id) {
  std::function<void()> done;  // ends outside the lock
  base::MutexLock lock(revision_mu_);
  const auto it = waiters_.find(std::pair(seq, id));
  if (it == waiters_.end()) return;
  done = std::move(it->second);
  waiters_.erase(it);
}

void Catalog::Count(const ServiceView* before, const ServiceView* after) {
  const auto size = [](const ServiceView* view) { return view == nullptr ? 0 : view->size(); };
  const auto tombs = [](const ServiceView* v) { return v == nullptr ? 0 : v->tombstone_count(); };
  instances_ += size(after) - size(before);
  tombstones_ += tombs(after) - tombs(before);
}

void Catalog::CountSettings(bool before, bool after) {
  if (before != after) settings_ += after ? 1 : -1;
}

void Catalog::Publish(ServiceInfo info) {
  const std::string key = storage::EncodeServiceKey(info.identity->ns, info.identity->service);
  if (Slot* const slot = FindSlot(HashedKey(key))) {
    Publish(*slot, std::move(info));
  } else {
    Add(key, std::move(info));
  }
}

void Catalog::Publish(Slot& slot, ServiceInfo info) {  // what was ends outside the lock
  Count(slot.info.view.get(), info.view.get());
  const bool before = slot.for_upkeep();
  const bool had_settings = slot.has_settings;
  {
    base::MutexLock lock(slot.shard.mu);
    slot.Set(info);
    SetHint(slot);
  }
  CountSettings(had_settings, slot.has_settings);
  if (slot.for_upkeep() != before) NoteUpkeep(slot);
}

void Catalog::NoteUpkeep(const Slot& slot) {
  base::MutexLock lock(upkeep_mu_);
  if (slot.for_upkeep()) {
    upkeep_.insert(slot.key());
  } else {
    upkeep_.erase(slot.key());
  }
}

std::vector<std::string> Catalog::ListUpkeep(std::string_view after, size_t max) const {
  std::vector<std::string> out;
  base::MutexLock lock(upkeep_mu_);
  for (auto it = upkeep_.upper_bound(after); it != upkeep_.end() && out.size() < max; ++it) {
    out.emplace_back(*it);
  }
  return out;
}

void Catalog::Add(std::string_view key, ServiceInfo info) {
  Count(nullptr, info.view.get());
  ++services_;
  base::MutexLock lock(names_mu_);
  AddNameChange({info.identity->ns, info.identity->display, true});
  const HashedKey hashed(key);
  Shard& shard = ShardOf(hashed);
  SlotPtr slot = Slot::Make(hashed, shard, std::move(info));
  CountSettings(false, slot->has_settings);
  names_.emplace(slot->key(), slot.get());
  if (names_.size() == kManyServices && own_hints_ == nullptr) {
    own_hints_ = std::make_unique<CatalogHints>(sizeof(Slot) + kCacheLine);  // and most keys
    for (const auto& [name, known] : names_) SetHint(*known);
    hints_.store(own_hints_.get(), std::memory_order_release);
  }
  SetHint(*slot);
  NoteUpkeep(*slot);
  base::MutexLock shard_lock(shard.mu);
  shard.services.insert(std::move(slot));
}

void Catalog::AddNameChange(NameChange change) {
  name_changes_.push_back(std::move(change));
  if (name_changes_.size() <= kMaxNameChanges) return;
  constexpr size_t kHalf = kMaxNameChanges / 2;
  name_changes_.erase(name_changes_.begin(), name_changes_.begin() + kHalf);
  name_changes_before_ += kHalf;
}

void Catalog::Forget(std::string_view service_key) {
  SlotPtr slot;
  base::MutexLock lock(names_mu_);
  {
    const HashedKey hashed(service_key);
    Shard& shard = ShardOf(hashed);
    base::MutexLock shard_lock(shard.mu);
    const auto it = shard.services.find(hashed);
    if (it == shard.services.end()) return;
    slot = std::move(shard.services.extract(it).value());
  }
  names_.erase(slot->key());
  {
    base::MutexLock upkeep_lock(upkeep_mu_);
    upkeep_.erase(slot->key());
  }
  Count(slot->info.view.get(), nullptr);
  CountSettings(slot->has_settings, false);
  --services_;
  AddNameChange({slot->info.identity->ns, slot->info.identity->display, false});
}

void Catalog::SetRevision(storage::Revision revision) {
  std::vector<std::function<void()>> ready;
  {
    base::MutexLock lock(revision_mu_);
    epoch_.store(revision.epoch, std::memory_order_release);
    seq_.store(revision.seq, std::memory_order_release);
    while (!waiters_.empty() && waiters_.begin()->first.first <= revision.seq) {
      ready.push_back(std::move(waiters_.begin()->second));
      waiters_.erase(waiters_.begin());
    }
  }
  for (auto& done : ready) done();
}

void Catalog::ResetNameChanges() {
  base::MutexLock lock(names_mu_);
  name_changes_before_ += name_changes_.size();
  name_changes_.clear();
  name_changes_.shrink_to_fit();
}

}  // namespace muster::core

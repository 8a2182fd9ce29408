// Where a service's place in the catalog, its view and its endpoints stand in memory, to ask for
// them before they are needed.
//
// The place of a name is found through a table, the view through the place, the endpoints through
// the view: in a large catalog none of it is in a cache, and each is waited for. CatalogHints says
// of a name's hash where all of them stood when they were last published, in one place. What it
// says is only asked for and never read, so it may be wrong.
#pragma once

#include <atomic>
#include <cstddef>
#include <vector>

#include "base/huge_pages.h"
#include "server/core/service_view.h"

namespace muster::core {

inline constexpr size_t kCacheLine = 64;  // bytes of memory that come at once

// Inlined, all of them, or the compiler sees functions without effect and leaves them out.
[[gnu::always_inline]] inline void PrefetchLines(const char* begin, size_t size) {
  for (size_t at = 0; at < size; at += kCacheLine) __builtin_prefetch(begin + at);
  __builtin_prefetch(begin + size - 1);
}

// What std::make_shared made: the count of its owners stands before it.
template <typename T>
[[gnu::always_inline]] inline void PrefetchShared(const T* object) {
  constexpr size_t kCounts = 16;
  PrefetchLines(reinterpret_cast<const char*>(object) - kCounts, kCounts + sizeof(T));
}

// `leaf`: the view's first; null = it has none.
[[gnu::always_inline]] inline void PrefetchEndpointsOf(const ServiceView* view, const Leaf* leaf) {
  // Bytes to ask for; from there on the processor's own prefetch follows.
  constexpr size_t kAhead = 10 * kCacheLine;
  PrefetchShared(view);
  if (leaf == nullptr) return;
  PrefetchShared(leaf);
  // The bytes stand behind it.
  PrefetchLines(reinterpret_cast<const char*>(leaf + 1), kAhead);
}

// Thread safety: Set from one thread at a time, Prefetch from any beside it.
class CatalogHints {
 public:
  // `place_bytes`: of a service's place in the catalog.
  explicit CatalogHints(size_t place_bytes) : place_bytes_(place_bytes), hints_(kHints) {}

  // `hash`: of the service's key. `leaf`: the view's first; null = it has none.
  void Set(size_t hash, const void* place, const ServiceView* view, const Leaf* leaf) {
    Hint& hint = hints_[hash % kHints];
    hint.hash.store(hash, std::memory_order_relaxed);
    hint.place.store(place, std::memory_order_relaxed);
    hint.view.store(view, std::memory_order_relaxed);
    hint.leaf.store(leaf, std::memory_order_relaxed);
  }
  [[gnu::always_inline]] void Prefetch(size_t hash) const {
    const Hint& hint = hints_[hash % kHints];
    if (hint.hash.load(std::memory_order_relaxed) != hash) return;
    const void* const place = hint.place.load(std::memory_order_relaxed);
    PrefetchLines(static_cast<const char*>(place), place_bytes_);
    PrefetchEndpointsOf(hint.view.load(std::memory_order_relaxed),
                        hint.leaf.load(std::memory_order_relaxed));
  }

 private:
  struct Hint {
    std::atomic<size_t> hash{0};
    std::atomic<const void*> place{nullptr};
    std::atomic<const ServiceView*> view{nullptr};
    std::atomic<const Leaf*> leaf{nullptr};
  };
  static constexpr size_t kHints = size_t{1} << 17;  // 4 MiB; more services share them

  const size_t place_bytes_;
  std::vector<Hint, base::KeptAllocator<Hint>> hints_;
};

}  // namespace muster::core

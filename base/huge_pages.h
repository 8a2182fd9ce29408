// Memory in huge pages for what lives long and is looked for in no order: a million leases are
// waited for less when a page is 2 MiB and not 4 KiB.
//
//   absl::flat_hash_map<uint64_t, const Lease*, Hash, Eq,
//                       base::KeptAllocator<std::pair<const uint64_t, const Lease*>>> by_handle;
//
// Thread safety: all of it. Cost: a lock for each block had or given back. What is freed in a huge
// page stays resident until the whole page is free, or comes back: short-lived memory doesn't
// belong here, and what is read from one end to the other gains nothing.
#pragma once

#include <cstddef>
#include <new>

namespace muster::base {

// As operator new and operator delete; where the program is linked to jemalloc
// (docs/adr/0007-jemalloc.md), in a place of its own that asks the system for transparent huge
// pages, once there are some 11 MiB. The system may not give them
// (/sys/kernel/mm/transparent_hugepage/enabled: never).
void* AllocateKept(size_t size);
void FreeKept(void* block);

// The same for containers.
template <typename T>
struct KeptAllocator {
  using value_type = T;
  static_assert(alignof(T) <= alignof(std::max_align_t));

  KeptAllocator() = default;
  template <typename U>
  KeptAllocator(const KeptAllocator<U>&) {}  // as of the standard's allocators
  T* allocate(size_t count) { return static_cast<T*>(AllocateKept(count * sizeof(T))); }
  void deallocate(T* block, size_t) { FreeKept(block); }
  friend bool operator==(const KeptAllocator&, const KeptAllocator&) { return true; }
};

}  // namespace muster::base

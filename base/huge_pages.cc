#include "base/huge_pages.h"

#if __has_include(<jemalloc/jemalloc.h>)
#include <jemalloc/jemalloc.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <optional>

// Null in a program that is not linked to jemalloc.
extern "C" decltype(mallctl) mallctl __attribute__((weak));

namespace muster::base {
namespace {

constexpr uintptr_t kHugePage = 2 << 20;

extent_hooks_t* g_usual = nullptr;

void* Alloc(extent_hooks_t*, void* at, size_t size, size_t alignment, bool* zero, bool* commit,
            unsigned arena) {
  void* extent = g_usual->alloc(g_usual, at, size, alignment, zero, commit, arena);
  // A request that the system may refuse: small pages then.
  if (extent != nullptr) madvise(extent, size, MADV_HUGEPAGE);
  return extent;
}

// Gives back whole huge pages only: one with a hole is split, and the system fills the hole again when
// it next looks for pages to join. False: all of it reads as zeroes.
bool Purge(extent_hooks_t*, void* extent, size_t, size_t offset, size_t length, unsigned) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(extent) + offset;
  const uintptr_t end = begin + length;
  const uintptr_t first = (begin + kHugePage - 1) & ~(kHugePage - 1);
  const uintptr_t last = end & ~(kHugePage - 1);
  if (first >= last) return true;
  const bool failed = madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED) != 0;
  return failed || first != begin || last != end;
}

std::optional<unsigned> NewArena() {
  if (mallctl == nullptr) return std::nullopt;
  size_t size = sizeof(g_usual);
  if (mallctl("arena.0.extent_hooks", &g_usual, &size, nullptr, 0) != 0) return std::nullopt;
  static extent_hooks_t hooks = *g_usual;
  hooks.alloc = Alloc;
  hooks.purge_lazy = nullptr;
  hooks.purge_forced = Purge;
  extent_hooks_t* with = &hooks;
  unsigned arena = 0;
  size = sizeof(arena);
  if (mallctl("arenas.create", &arena, &size, &with, sizeof(with)) != 0) return std::nullopt;
  return arena;
}

}  // namespace

void AllocateInHugePages() {
  static const std::optional<unsigned> arena = NewArena();
  if (!arena) return;
  unsigned of_thread = *arena;
  mallctl("thread.arena", nullptr, nullptr, &of_thread, sizeof(of_thread));
}

}  // namespace muster::base

#else

namespace muster::base {
void AllocateInHugePages() {}
}  // namespace muster::base

#endif

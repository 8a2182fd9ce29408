#include "base/huge_pages.h"

#if __has_include(<jemalloc/jemalloc.h>)
#include <jemalloc/jemalloc.h>
#include <sys/mman.h>

#include <cstddef>
#include <optional>

// Null in a program that is not linked to jemalloc.
extern "C" {
decltype(mallctl) mallctl __attribute__((weak));
decltype(mallocx) mallocx __attribute__((weak));
decltype(dallocx) dallocx __attribute__((weak));
}

namespace muster::base {
namespace {

// The allocator asks for more each time, from 2 MiB on. What holds little waits for memory little,
// and would grow by whole huge pages of which it needs a part: its first 11 MiB are in small pages.
constexpr size_t kWorthHugePages = 4 << 20;

extent_hooks_t* g_usual = nullptr;

void* Alloc(extent_hooks_t*, void* at, size_t size, size_t alignment, bool* zero, bool* commit,
            unsigned arena) {
  void* extent = g_usual->alloc(g_usual, at, size, alignment, zero, commit, arena);
  // A request that the system may refuse: small pages then.
  if (extent != nullptr && size >= kWorthHugePages) madvise(extent, size, MADV_HUGEPAGE);
  return extent;
}

std::optional<unsigned> NewArena() {
  if (mallctl == nullptr) return std::nullopt;
  size_t size = sizeof(g_usual);
  if (mallctl("arena.0.extent_hooks", &g_usual, &size, nullptr, 0) != 0) return std::nullopt;
  static extent_hooks_t hooks = *g_usual;
  hooks.alloc = Alloc;
  extent_hooks_t* with = &hooks;
  unsigned arena = 0;
  size = sizeof(arena);
  if (mallctl("arenas.create", &arena, &size, &with, sizeof(with)) != 0) return std::nullopt;
  return arena;
}

int Flags() {
  static const std::optional<unsigned> arena = NewArena();
  // Without the thread's cache, which takes no heed of where a block stands.
  return arena ? MALLOCX_ARENA(*arena) | MALLOCX_TCACHE_NONE : 0;
}

}  // namespace

void* AllocateKept(size_t size) {
  const int flags = Flags();
  if (flags == 0) return ::operator new(size);
  void* const block = mallocx(size, flags);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

void FreeKept(void* block) {
  if (Flags() == 0) return ::operator delete(block);
  dallocx(block, MALLOCX_TCACHE_NONE);
}

}  // namespace muster::base

#else

namespace muster::base {
void* AllocateKept(size_t size) { return ::operator new(size); }
void FreeKept(void* block) { ::operator delete(block); }
}  // namespace muster::base

#endif

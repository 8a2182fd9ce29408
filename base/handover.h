// What one thread hands to another through a library that isn't instrumented, such as the
// distribution's gRPC, told to ThreadSanitizer. Elsewhere these are nothing.
//
//   base::HandOver(this); …  // on one thread, before the library is called
//   base::TakeOver(this); …  // on the other, which sees what was written before
//
// For sources, not headers: where MUSTER_TSAN is defined, which a source that needs it says in its
// room's CMakeLists.txt.
#pragma once

#if defined(MUSTER_TSAN)
extern "C" void __tsan_release(void* at);
extern "C" void __tsan_acquire(void* at);
#endif

namespace muster::base {

inline void HandOver([[maybe_unused]] void* what) {
#if defined(MUSTER_TSAN)
  __tsan_release(what);
#endif
}

inline void TakeOver([[maybe_unused]] void* what) {
#if defined(MUSTER_TSAN)
  __tsan_acquire(what);
#endif
}

}  // namespace muster::base

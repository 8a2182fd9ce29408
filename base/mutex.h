// Mutex, MutexLock, CondVar: std::mutex with Clang's thread-safety annotations. The only mutex in
// muster: absl::Mutex gives false races under TSan with the distribution's packages.
//
//   Mutex mu;
//   int count MUSTER_GUARDED_BY(mu);
//   { MutexLock lock(mu); ++count; }
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/time/time.h"

#if defined(__clang__)
#define MUSTER_TS_ATTRIBUTE(x) __attribute__((x))
#else
#define MUSTER_TS_ATTRIBUTE(x)
#endif
#define MUSTER_CAPABILITY(x) MUSTER_TS_ATTRIBUTE(capability(x))
#define MUSTER_SCOPED_CAPABILITY MUSTER_TS_ATTRIBUTE(scoped_lockable)
#define MUSTER_GUARDED_BY(x) MUSTER_TS_ATTRIBUTE(guarded_by(x))
#define MUSTER_REQUIRES(...) MUSTER_TS_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define MUSTER_EXCLUDES(...) MUSTER_TS_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define MUSTER_ACQUIRE(...) MUSTER_TS_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define MUSTER_RELEASE(...) MUSTER_TS_ATTRIBUTE(release_capability(__VA_ARGS__))
#define MUSTER_NO_THREAD_SAFETY_ANALYSIS MUSTER_TS_ATTRIBUTE(no_thread_safety_analysis)

namespace muster::base {

class MUSTER_CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  void Lock() MUSTER_ACQUIRE() { mu_.lock(); }
  void Unlock() MUSTER_RELEASE() { mu_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mu_;
};

class MUSTER_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mu) MUSTER_ACQUIRE(mu) : mu_(mu) { mu_.Lock(); }
  ~MutexLock() MUSTER_RELEASE() { mu_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mu_;
};

// Waits may end for no reason: wait in a loop on the condition.
class CondVar {
 public:
  void Wait(Mutex& mu) MUSTER_REQUIRES(mu) {
    std::unique_lock<std::mutex> lock(mu.mu_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  // False when the time ran out; that is after a year at most.
  bool WaitFor(Mutex& mu, absl::Duration timeout) MUSTER_REQUIRES(mu) {
    std::unique_lock<std::mutex> lock(mu.mu_, std::adopt_lock);
    // The standard library adds the timeout to the time now: an endless one would overflow.
    const auto bounded = std::min(timeout, absl::Hours(24 * 365));
    const auto status = cv_.wait_for(lock, absl::ToChronoMicroseconds(bounded));
    lock.release();
    return status == std::cv_status::no_timeout;
  }
  void NotifyOne() { cv_.notify_one(); }
  void NotifyAll() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

}  // namespace muster::base

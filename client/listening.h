// A callback of the application's, which ends when its owner says so. What it holds, a Client
// perhaps, is let go as soon as it has ended, and by nobody who is in the middle of something.
//
// Thread safety: all members; Tell by one thread, the one that runs callbacks.
#pragma once

#include <atomic>
#include <functional>
#include <utility>

#include "base/mutex.h"

namespace muster::client {

template <typename Value>
class Listening {
 public:
  using Listener = std::function<void(const Value&)>;

  explicit Listening(Listener listener) : listener_(std::move(listener)) {}

  void Tell(const Value& value) {
    Listener dropped;  // after the lock
    base::MutexLock lock(mu_);
    telling_ = true;
    if (!ended_) listener_(value);
    telling_ = false;
    if (ended_) dropped = std::move(listener_);
  }
  // None begins afterwards, and one that runs on another thread has ended. `by_callback`: the
  // thread that runs callbacks calls; the one that runs may be this one.
  void End(bool by_callback) {
    ended_ = true;
    if (by_callback && telling_) return;
    Listener dropped;
    base::MutexLock lock(mu_);  // waits for the one that runs
    dropped = std::move(listener_);
  }
  bool ended() const { return ended_; }

 private:
  base::Mutex mu_;  // held while it runs
  std::atomic<bool> ended_{false};
  bool telling_ = false;  // of the thread that runs callbacks
  Listener listener_ MUSTER_GUARDED_BY(mu_);
};

}  // namespace muster::client

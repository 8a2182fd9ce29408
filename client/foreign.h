// Threads of gRPC's own, which must not wait: what ends a client may wait for calls that only they
// can end.
//
// Thread safety: Foreign: a thread's; DeleteOutside: all.
#pragma once

#include <functional>

namespace muster::client {

// This thread is one of gRPC's, in its lifetime.
class Foreign {
 public:
  Foreign() : outer_(is_) { is_ = true; }
  ~Foreign() { is_ = outer_; }
  Foreign(const Foreign&) = delete;
  Foreign& operator=(const Foreign&) = delete;

  static bool Is() { return is_; }
  // Soon, on a thread of the process's for such things.
  static void RunOutside(std::function<void()> task);

 private:
  static thread_local bool is_;
  const bool outer_;
};

// At once, or on another thread when this one is foreign.
template <typename Object>
void DeleteOutside(Object* object) {
  if (!Foreign::Is()) {
    delete object;
    return;
  }
  Foreign::RunOutside([object] { delete object; });
}

}  // namespace muster::client

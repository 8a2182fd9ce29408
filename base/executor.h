// One named thread that runs what is posted, in order.
//
// Thread safety: all members. Stop() runs what was posted before it; later posts are dropped.
#pragma once

#include <deque>
#include <functional>
#include <string>

#include "base/mutex.h"
#include "base/thread.h"

namespace muster::base {

class SerialExecutor {
 public:
  explicit SerialExecutor(std::string name);
  ~SerialExecutor() { Stop(); }

  // False when stopped.
  bool Post(std::function<void()> task);
  void Stop();
  size_t size() const;

 private:
  void Run();

  mutable Mutex mu_;
  CondVar ready_;
  std::deque<std::function<void()>> tasks_ MUSTER_GUARDED_BY(mu_);
  bool stopped_ MUSTER_GUARDED_BY(mu_) = false;
  NamedThread thread_;
};

}  // namespace muster::base

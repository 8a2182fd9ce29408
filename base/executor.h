// One named thread that runs what is posted, in order.
//
// Thread safety: all members. Stop() runs what was posted before it and returns when that is done;
// later posts are dropped. REQUIRES: no task stops or destroys its own executor.
//
// A task may leave what is better done once for all that it does, until its end:
//   SerialExecutor::AfterTask([] { flush(); });
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <functional>
#include <string>
#include <vector>

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
  // Posted and not finished, the running one included.
  size_t size() const;

  // The calling thread runs a task of an executor.
  static bool RunsATask();
  // Runs `then` at the end of the present task, behind what was left before. REQUIRES: RunsATask().
  static void AfterTask(std::function<void()> then);

 private:
  void Run();

  mutable Mutex mu_;
  CondVar ready_;
  std::deque<std::function<void()>> tasks_ MUSTER_GUARDED_BY(mu_);
  std::atomic<size_t> unfinished_{0};
  bool stopped_ MUSTER_GUARDED_BY(mu_) = false;
  Mutex join_mu_;  // before mu_
  NamedThread thread_ MUSTER_GUARDED_BY(join_mu_);
};

}  // namespace muster::base

#include "base/executor.h"

#include <utility>

namespace muster::base {

SerialExecutor::SerialExecutor(std::string name) : thread_(std::move(name), [this] { Run(); }) {}

bool SerialExecutor::Post(std::function<void()> task) {
  {
    MutexLock lock(mu_);
    if (stopped_) return false;
    unfinished_.fetch_add(1, std::memory_order_relaxed);
    tasks_.push_back(std::move(task));
    if (tasks_.size() > 1) return true;  // it was woken for the first
  }
  ready_.NotifyOne();
  return true;
}

void SerialExecutor::Stop() {
  {
    MutexLock lock(mu_);
    stopped_ = true;
  }
  ready_.NotifyAll();
  MutexLock lock(join_mu_);
  thread_.Join();
}

size_t SerialExecutor::size() const { return unfinished_.load(std::memory_order_relaxed); }

void SerialExecutor::Run() {
  for (;;) {
    std::deque<std::function<void()>> batch;
    {
      MutexLock lock(mu_);
      while (tasks_.empty() && !stopped_) ready_.Wait(mu_);
      if (tasks_.empty()) return;
      batch.swap(tasks_);
    }
    for (auto& task : batch) {
      task();
      task = nullptr;  // what it captured ends here, not with the batch
      unfinished_.fetch_sub(1, std::memory_order_relaxed);
    }
  }
}

}  // namespace muster::base

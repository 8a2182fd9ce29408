#include "base/executor.h"

#include <utility>

namespace muster::base {

SerialExecutor::SerialExecutor(std::string name) : thread_(std::move(name), [this] { Run(); }) {}

bool SerialExecutor::Post(std::function<void()> task) {
  {
    MutexLock lock(mu_);
    if (stopped_) return false;
    tasks_.push_back(std::move(task));
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
  thread_.Join();
}

size_t SerialExecutor::size() const {
  MutexLock lock(mu_);
  return tasks_.size();
}

void SerialExecutor::Run() {
  for (;;) {
    std::deque<std::function<void()>> batch;
    {
      MutexLock lock(mu_);
      while (tasks_.empty() && !stopped_) ready_.Wait(mu_);
      if (tasks_.empty()) return;
      batch.swap(tasks_);
    }
    for (auto& task : batch) task();
  }
}

}  // namespace muster::base

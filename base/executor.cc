#include "base/executor.h"

#include <utility>

namespace muster::base {

namespace {

// What the running task left for its end; null: none runs.
thread_local std::vector<std::function<void()>>* t_after_task = nullptr;

}  // namespace

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

bool SerialExecutor::RunsATask() { return t_after_task != nullptr; }

void SerialExecutor::AfterTask(std::function<void()> then) {
  t_after_task->push_back(std::move(then));
}

void SerialExecutor::Run() {
  std::vector<std::function<void()>> after_task;
  for (;;) {
    std::deque<std::function<void()>> batch;
    {
      MutexLock lock(mu_);
      while (tasks_.empty() && !stopped_) ready_.Wait(mu_);
      if (tasks_.empty()) return;
      batch.swap(tasks_);
    }
    for (auto& task : batch) {
      t_after_task = &after_task;
      task();
      // They may leave more.
      for (size_t i = 0; i < after_task.size(); ++i) std::exchange(after_task[i], nullptr)();
      after_task.clear();
      t_after_task = nullptr;
      task = nullptr;  // what it captured ends here, not with the batch
      unfinished_.fetch_sub(1, std::memory_order_relaxed);
    }
  }
}

}  // namespace muster::base

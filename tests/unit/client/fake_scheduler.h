// A scheduler that the test drives: nothing runs but in these calls. Share() gives what stands for
// a thread of its own, and runs with it.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "client/scheduler.h"

namespace muster::client::testing {

class FakeScheduler : public Scheduler {
 public:
  void Post(Task task) override { posted_.push_back(std::move(task)); }
  Timer At(base::SteadyTime time, Task task) override {
    timers_[{time, ++last_}] = std::move(task);
    return last_;
  }
  void Cancel(Timer timer) override {
    std::erase_if(timers_, [timer](const auto& entry) { return entry.first.second == timer; });
  }
  base::SteadyTime Now() const override { return now_; }
  bool Runs() const override { return true; }
  void Stop() override {
    posted_.clear();
    timers_.clear();
  }

  // All that is posted, and what that posts.
  void Run() {
    while (!posted_.empty()) {
      const Task task = std::move(posted_.front());
      posted_.pop_front();
      task();
    }
  }
  // Time passes; what falls due meanwhile runs at its time.
  void Advance(absl::Duration duration) {
    const base::SteadyTime end = now_ + duration;
    Run();
    while (!timers_.empty() && timers_.begin()->first.first <= end) {
      const auto first = timers_.begin();
      now_ = std::max(now_, first->first.first);
      const Task task = std::move(first->second);
      timers_.erase(first);
      task();
      Run();
    }
    now_ = end;
  }
  size_t timers() const { return timers_.size(); }

  // REQUIRES: this outlives it.
  std::unique_ptr<Scheduler> Share() { return std::make_unique<Sharing>(*this); }

 private:
  class Sharing : public Scheduler {
   public:
    explicit Sharing(FakeScheduler& scheduler) : scheduler_(scheduler) {}
    ~Sharing() override { Stop(); }
    void Post(Task task) override { scheduler_.Post(Guarded(std::move(task))); }
    Timer At(base::SteadyTime time, Task task) override {
      return scheduler_.At(time, Guarded(std::move(task)));
    }
    void Cancel(Timer timer) override { scheduler_.Cancel(timer); }
    base::SteadyTime Now() const override { return scheduler_.Now(); }
    bool Runs() const override { return true; }
    void Stop() override { alive_ = nullptr; }

   private:
    // Let go of when it has stopped, and not later.
    Task Guarded(Task task) {
      if (alive_ == nullptr) return [] {};
      auto held = std::make_shared<Task>(std::move(task));
      alive_->push_back(held);
      return [held = std::weak_ptr<Task>(held)] {
        if (const auto task = held.lock()) std::exchange(*task, nullptr)();
      };
    }

    FakeScheduler& scheduler_;
    std::shared_ptr<std::vector<std::shared_ptr<Task>>> alive_ =
        std::make_shared<std::vector<std::shared_ptr<Task>>>();
  };

  std::deque<Task> posted_;
  std::map<std::pair<base::SteadyTime, Timer>, Task> timers_;
  Timer last_ = 0;
  base::SteadyTime now_{1'000'000};
};

}  // namespace muster::client::testing

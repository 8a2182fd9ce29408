#include "client/loop.h"

#include <deque>
#include <map>
#include <thread>
#include <utility>

#include "absl/time/time.h"
#include "base/mutex.h"

namespace muster::client {

struct Loop::State {
  explicit State(const base::Clock& the_clock) : clock(the_clock) {}

  const base::Clock& clock;
  base::Mutex mu;
  base::CondVar changed;
  std::deque<Task> posted MUSTER_GUARDED_BY(mu);
  std::map<std::pair<base::SteadyTime, Timer>, Task> timers MUSTER_GUARDED_BY(mu);
  std::map<Timer, base::SteadyTime> times MUSTER_GUARDED_BY(mu);
  Timer last_timer MUSTER_GUARDED_BY(mu) = 0;
  bool stopped MUSTER_GUARDED_BY(mu) = false;
  std::thread::id id MUSTER_GUARDED_BY(mu);

  // The next one that is due; waits for it. Null: stopped.
  Task Next() {
    base::MutexLock lock(mu);
    while (!stopped) {
      if (!timers.empty() && timers.begin()->first.first <= clock.Steady()) {
        const auto first = timers.begin();
        Task task = std::move(first->second);
        times.erase(first->first.second);
        timers.erase(first);
        return task;
      }
      if (!posted.empty()) {
        Task task = std::move(posted.front());
        posted.pop_front();
        return task;
      }
      if (timers.empty()) {
        changed.Wait(mu);
      } else {
        changed.WaitFor(mu, timers.begin()->first.first - clock.Steady());
      }
    }
    return nullptr;
  }
};

Loop::Loop(std::string name, const base::Clock& clock)
    : state_(std::make_shared<State>(clock)),
      thread_(std::move(name), [state = state_] { Run(state); }) {}

Loop::~Loop() { Stop(); }

void Loop::Run(const std::shared_ptr<State>& state) {
  {
    base::MutexLock lock(state->mu);
    state->id = std::this_thread::get_id();
  }
  while (Task task = state->Next()) task();
}

void Loop::Post(Task task) {
  base::MutexLock lock(state_->mu);
  if (state_->stopped) return;
  state_->posted.push_back(std::move(task));
  state_->changed.NotifyOne();
}

Scheduler::Timer Loop::At(base::SteadyTime time, Task task) {
  base::MutexLock lock(state_->mu);
  if (state_->stopped) return 0;
  const Timer timer = ++state_->last_timer;
  state_->times[timer] = time;
  state_->timers[{time, timer}] = std::move(task);
  state_->changed.NotifyOne();
  return timer;
}

void Loop::Cancel(Timer timer) {
  Task dropped;  // destroyed without the lock: who knows what it holds
  base::MutexLock lock(state_->mu);
  const auto found = state_->times.find(timer);
  if (found == state_->times.end()) return;
  const auto task = state_->timers.find({found->second, timer});
  dropped = std::move(task->second);
  state_->timers.erase(task);
  state_->times.erase(found);
}

base::SteadyTime Loop::Now() const { return state_->clock.Steady(); }

bool Loop::Runs() const {
  base::MutexLock lock(state_->mu);
  return state_->id == std::this_thread::get_id();
}

void Loop::Stop() {
  std::deque<Task> posted;
  std::map<std::pair<base::SteadyTime, Timer>, Task> timers;
  {
    base::MutexLock lock(state_->mu);
    state_->stopped = true;
    posted.swap(state_->posted);
    timers.swap(state_->timers);
    state_->times.clear();
    state_->changed.NotifyAll();
  }
  // A task can't wait for its own end.
  if (Runs()) {
    thread_.Detach();
  } else {
    thread_.Join();
  }
}

}  // namespace muster::client

// A thread that does the library's work.
//
// Thread safety: all members. The destructor stops it.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/thread.h"
#include "client/scheduler.h"

namespace muster::client {

class Loop : public Scheduler {
 public:
  // The name shows in ps: at most 15 bytes. `clock`: by which the thread sleeps, too.
  Loop(std::string name, const base::Clock& clock);
  ~Loop() override;

  void Post(Task task) override;
  Timer At(base::SteadyTime time, Task task) override;
  void Cancel(Timer timer) override;
  base::SteadyTime Now() const override;
  bool Runs() const override;
  void Stop() override;

 private:
  struct State;
  static void Run(const std::shared_ptr<State>& state);
  const std::shared_ptr<State> state_;  // the thread's as well
  base::NamedThread thread_;
};

}  // namespace muster::client

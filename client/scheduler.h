// When the library's own work is done: one thing at a time, in order of time, on one thread.
//
// Thread safety: all members. What is scheduled runs on no thread but the scheduler's, never within
// a call of these.
#pragma once

#include <cstdint>
#include <functional>

#include "base/clock.h"

namespace muster::client {

class Scheduler {
 public:
  using Task = std::function<void()>;
  using Timer = uint64_t;  // 0 is none

  virtual ~Scheduler() = default;
  // As soon as possible, after what was posted before. Dropped when it has stopped.
  virtual void Post(Task task) = 0;
  // Not before `time`.
  virtual Timer At(base::SteadyTime time, Task task) = 0;
  // It won't begin, if it hasn't: certain when called by the scheduler's own thread.
  virtual void Cancel(Timer timer) = 0;
  virtual base::SteadyTime Now() const = 0;
  // The calling thread is the scheduler's.
  virtual bool Runs() const = 0;
  // Drops what hasn't begun, and what comes later. Waits for the task that runs, unless that calls.
  virtual void Stop() = 0;
};

}  // namespace muster::client

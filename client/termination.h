// Something that is to be finished when SIGTERM comes, before the process gets to know of it.
//
// While there is one, a handler stands in the place of the one that the process had. It wakes a
// thread that begins all, waits for all, puts the former handler back, and sends the signal once
// more: what the process would have done, it does then. A process that ignores SIGTERM, or takes it
// by signalfd or sigwait, or sets a handler later, isn't disturbed, and nothing is finished.
//
// Thread safety: all members.
#pragma once

#include <functional>

namespace muster::client {

class OnTermination {
 public:
  // Called by a thread of its own, after the signal: begins it, and returns what waits for its end.
  using Begin = std::function<std::function<void()>()>;

  explicit OnTermination(Begin begin);
  // What was begun has ended. REQUIRES: not by what it calls.
  ~OnTermination();
  OnTermination(const OnTermination&) = delete;
  OnTermination& operator=(const OnTermination&) = delete;

 private:
  friend class Terminations;
  const Begin begin_;
};

}  // namespace muster::client

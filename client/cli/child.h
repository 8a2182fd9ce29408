// A program that this process runs and answers for.
//
// Thread safety: none. REQUIRES: Block was called before the first other thread began.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace muster::cli {

class Child {
 public:
  // Blocks the signals that are passed on, and SIGCHLD, in this thread and those that it starts.
  // What they were is for Start.
  static sigset_t Block();
  // The child has the signals as they were, and gets SIGTERM when this process dies. Errors:
  // NOT_FOUND, PERMISSION_DENIED and others with the system's words when it can't be started.
  static absl::StatusOr<Child> Start(const std::vector<std::string>& command,
                                     const sigset_t& former);

  // The next signal that was sent to this process, not by its terminal, which sends it to the child
  // as well; 0: the child has ended.
  int NextSignal();
  // As NextSignal; nullopt: none came within this time.
  std::optional<int> NextSignal(absl::Duration within);
  void Pass(int signal) const;
  // After NextSignal was 0: its exit code, or 128 and the signal.
  int code() const { return code_; }

 private:
  Child(pid_t pid, sigset_t signals) : pid_(pid), signals_(signals) {}
  // What NextSignal says of it; nullopt: nothing.
  std::optional<int> Meaning(int signal, const siginfo_t& info);
  bool HasEnded();

  pid_t pid_;
  sigset_t signals_;
  int code_ = 0;
};

}  // namespace muster::cli

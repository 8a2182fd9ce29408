// SIGINT and SIGTERM, made into something that can be waited for and that cancels a call.
//
// Thread safety: all. Ownership: owns the thread that takes the signals; joined by the destructor.
// Both signals stay blocked afterwards. REQUIRES: made before the first other thread of the
// process, else a signal may end the process instead.
#pragma once

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/thread.h"

namespace grpc {
class ClientContext;
}

namespace muster::cli {

// Blocks both signals in this thread and those that it starts.
void BlockSignals();

class Interrupt {
 public:
  explicit Interrupt(const base::Clock& clock);
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool came() const;
  // True when a signal came, before or meanwhile.
  bool WaitFor(absl::Duration timeout);

  // While it lives, the signal cancels the call. Null `interrupt`: nothing does.
  class Scope {
   public:
    Scope(Interrupt* interrupt, grpc::ClientContext* call);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Interrupt* const interrupt_;
  };

 private:
  void TakeSignals();
  void Came();

  const base::Clock& clock_;
  // Signals, and what ends the thread.
  const int signals_;
  const int stop_;

  mutable base::Mutex mu_;
  base::CondVar changed_;
  bool came_ MUSTER_GUARDED_BY(mu_) = false;
  grpc::ClientContext* call_ MUSTER_GUARDED_BY(mu_) = nullptr;

  base::NamedThread thread_;
};

}  // namespace muster::cli

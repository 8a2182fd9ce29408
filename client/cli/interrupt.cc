#include "client/cli/interrupt.h"

#include <grpcpp/client_context.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>

namespace muster::cli {
namespace {

sigset_t EndSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

int OpenSignals() {
  BlockSignals();
  const sigset_t set = EndSignals();
  return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

}  // namespace

void BlockSignals() {
  const sigset_t set = EndSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

Interrupt::Interrupt(const base::Clock& clock)
    : clock_(clock),
      signals_(OpenSignals()),
      stop_(eventfd(0, EFD_CLOEXEC)),
      thread_("muster-signals", [this] { TakeSignals(); }) {}

Interrupt::~Interrupt() {
  eventfd_write(stop_, 1);
  thread_.Join();
  close(signals_);
  close(stop_);
}

void Interrupt::TakeSignals() {
  for (;;) {
    pollfd fds[] = {{signals_, POLLIN, 0}, {stop_, POLLIN, 0}};
    if (poll(fds, 2, -1) < 0 && errno != EINTR) return;
    if (fds[1].revents != 0) return;
    signalfd_siginfo info;
    if (read(signals_, &info, sizeof info) == sizeof info) Came();
  }
}

void Interrupt::Came() {
  base::MutexLock lock(mu_);
  came_ = true;
  if (call_ != nullptr) call_->TryCancel();
  changed_.NotifyAll();
}

bool Interrupt::came() const {
  base::MutexLock lock(mu_);
  return came_;
}

bool Interrupt::WaitFor(absl::Duration timeout) {
  const base::SteadyTime until = clock_.Steady() + std::max(timeout, absl::ZeroDuration());
  base::MutexLock lock(mu_);
  while (!came_) {
    const absl::Duration left = until - clock_.Steady();
    if (left <= absl::ZeroDuration()) break;
    changed_.WaitFor(mu_, left);
  }
  return came_;
}

Interrupt::Scope::Scope(Interrupt* interrupt, grpc::ClientContext* call) : interrupt_(interrupt) {
  if (interrupt_ == nullptr) return;
  base::MutexLock lock(interrupt_->mu_);
  interrupt_->call_ = call;
  if (interrupt_->came_) call->TryCancel();
}

Interrupt::Scope::~Scope() {
  if (interrupt_ == nullptr) return;
  base::MutexLock lock(interrupt_->mu_);
  interrupt_->call_ = nullptr;
}

}  // namespace muster::cli

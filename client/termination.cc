#include "client/termination.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/thread.h"

namespace muster::client {
namespace {

// Of the handler; set before that is.
int wake_fd = -1;
pid_t owner = 0;
struct sigaction former {};

void Handle(int /*signal*/) {
  const int saved = errno;
  if (getpid() == owner) {
    eventfd_write(wake_fd, 1);
  } else {
    // In a child of fork, which has no thread that would finish anything, and shares the
    // descriptor: the signal is the child's own.
    sigaction(SIGTERM, &former, nullptr);
    kill(getpid(), SIGTERM);
  }
  errno = saved;
}

}  // namespace

// All of the process. Its thread lives for as long as the process does.
class Terminations {
 public:
  static Terminations& All() {
    static Terminations& all = *new Terminations;
    return all;
  }

  void Add(OnTermination* one) {
    base::MutexLock lock(mu_);
    ones_.insert(one);
    if (!taken_) TakeSignal();
  }
  void Remove(OnTermination* one) {
    base::MutexLock lock(mu_);
    while (running_) ended_.Wait(mu_);
    ones_.erase(one);
    if (ones_.empty()) GiveBack();
  }

 private:
  void TakeSignal() MUSTER_REQUIRES(mu_) {
    struct sigaction present {};
    sigaction(SIGTERM, nullptr, &present);
    if (present.sa_handler == SIG_IGN) return;
    if (wake_fd < 0) {
      wake_fd = eventfd(0, EFD_CLOEXEC);
      if (wake_fd < 0) return;
      thread_ = base::NamedThread("muster-sigterm", [this] { Run(); });
    }
    former = present;
    owner = getpid();
    struct sigaction ours {};
    ours.sa_handler = Handle;
    ours.sa_flags = SA_RESTART;
    sigemptyset(&ours.sa_mask);
    taken_ = sigaction(SIGTERM, &ours, nullptr) == 0;
  }
  // Unless somebody has set another one meanwhile.
  void GiveBack() MUSTER_REQUIRES(mu_) {
    struct sigaction present {};
    sigaction(SIGTERM, nullptr, &present);
    if (std::exchange(taken_, false) && present.sa_handler == Handle) {
      sigaction(SIGTERM, &former, nullptr);
    }
  }

  void Run() {
    eventfd_t count = 0;
    while (eventfd_read(wake_fd, &count) == 0 || errno == EINTR) {
      if (count == 0) continue;
      count = 0;
      Finish();
      kill(getpid(), SIGTERM);
    }
  }
  void Finish() {
    std::vector<OnTermination*> ones;
    {
      base::MutexLock lock(mu_);
      running_ = true;
      ones.assign(ones_.begin(), ones_.end());
    }
    std::vector<std::function<void()>> waits;
    waits.reserve(ones.size());
    for (const OnTermination* one : ones) waits.push_back(one->begin_());
    for (const auto& wait : waits) wait();
    base::MutexLock lock(mu_);
    running_ = false;
    ended_.NotifyAll();
    GiveBack();
  }

  base::Mutex mu_;
  base::CondVar ended_;
  std::set<OnTermination*> ones_ MUSTER_GUARDED_BY(mu_);
  bool running_ MUSTER_GUARDED_BY(mu_) = false;
  bool taken_ MUSTER_GUARDED_BY(mu_) = false;
  base::NamedThread thread_ MUSTER_GUARDED_BY(mu_);
};

OnTermination::OnTermination(Begin begin) : begin_(std::move(begin)) {
  Terminations::All().Add(this);
}

OnTermination::~OnTermination() { Terminations::All().Remove(this); }

}  // namespace muster::client

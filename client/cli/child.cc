#include "client/cli/child.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/text.h"

namespace muster::cli {
namespace {

constexpr int kPassed[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT, SIGWINCH};

sigset_t WantedSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : kPassed) sigaddset(&set, signal);
  sigaddset(&set, SIGCHLD);
  return set;
}

// In the child; nothing but system calls until exec. Tells `failed` what went wrong.
[[noreturn]] void Become(char* const* argv, const sigset_t& mask, pid_t parent, int failed) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);  // it died before
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  execvp(argv[0], argv);
  const int error = errno;
  const ssize_t told = write(failed, &error, sizeof error);
  _exit(told == sizeof error && error == ENOENT ? 127 : 126);
}

}  // namespace

sigset_t Child::Block() {
  const sigset_t signals = WantedSignals();
  sigset_t former;
  pthread_sigmask(SIG_BLOCK, &signals, &former);
  return former;
}

absl::StatusOr<Child> Child::Start(const std::vector<std::string>& command,
                                   const sigset_t& former) {
  std::vector<char*> argv;
  argv.reserve(command.size() + 1);
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  int failed[2];
  if (pipe2(failed, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "can't make a pipe");
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) Become(argv.data(), former, parent, failed[1]);
  const int fork_error = errno;
  close(failed[1]);
  int error = 0;
  const ssize_t got = pid < 0 ? 0 : read(failed[0], &error, sizeof error);
  close(failed[0]);
  if (pid < 0) return absl::ErrnoToStatus(fork_error, "can't start a process");
  if (got == 0) return Child(pid, WantedSignals());
  waitpid(pid, nullptr, 0);
  return absl::ErrnoToStatus(error, absl::StrCat("can't run ", base::Quoted(command[0])));
}

bool Child::HasEnded() {
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return false;
  code_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return true;
}

std::optional<int> Child::Meaning(int signal, const siginfo_t& info) {
  if (signal == SIGCHLD) return HasEnded() ? std::optional<int>(0) : std::nullopt;
  // By kill, not by the kernel for a key that was pressed.
  return signal > 0 && info.si_code <= 0 ? std::optional<int>(signal) : std::nullopt;
}

int Child::NextSignal() {
  for (;;) {
    siginfo_t info{};
    const int signal = sigwaitinfo(&signals_, &info);
    if (const auto meaning = Meaning(signal, info)) return *meaning;
  }
}

std::optional<int> Child::NextSignal(absl::Duration within) {
  siginfo_t info{};
  const timespec longest = absl::ToTimespec(within);
  const int signal = sigtimedwait(&signals_, &info, &longest);
  return Meaning(signal, info);
}

void Child::Pass(int signal) const { kill(pid_, signal); }

}  // namespace muster::cli

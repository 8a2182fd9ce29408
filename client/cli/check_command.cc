#include "client/cli/check_command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/duration_text.h"

namespace muster::cli {
namespace {

using client::HealthReport;
using Health = client::Endpoint::Health;

constexpr size_t kMaxOutput = 4096;
// Between looks at a command that has closed its output and goes on.
constexpr int kLookMs = 10;

// -1: it can't be started.
pid_t Spawn(const std::string& command, int output) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, output, STDERR_FILENO);
  posix_spawnattr_t how;
  posix_spawnattr_init(&how);
  // In a group of its own, and with the signals that this process keeps to itself.
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&how, &none);
  posix_spawnattr_setpgroup(&how, 0);
  posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  char* const argv[] = {const_cast<char*>("sh"), const_cast<char*>("-c"),
                        const_cast<char*>(command.c_str()), nullptr};
  pid_t pid = -1;
  if (posix_spawn(&pid, "/bin/sh", &files, &how, argv, environ) != 0) pid = -1;
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&how);
  return pid;
}

// False: there is no more.
bool ReadSome(int fd, std::string* text) {
  char buffer[1024];
  const ssize_t got = read(fd, buffer, sizeof buffer);
  if (got <= 0) return false;
  text->append(buffer, std::min(static_cast<size_t>(got), kMaxOutput - text->size()));
  return true;
}

Health HealthOf(int status) {
  if (!WIFEXITED(status)) return Health::kCritical;
  if (WEXITSTATUS(status) == 0) return Health::kPassing;
  return WEXITSTATUS(status) == 1 ? Health::kWarning : Health::kCritical;
}

}  // namespace

void ReadRest(int fd, std::string* text) {
  while (text->size() < kMaxOutput && ReadSome(fd, text)) {
  }
}

HealthReport RunCheck(const std::string& command, absl::Duration within, const base::Clock& clock,
                      const std::atomic<bool>& ended) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return {Health::kCritical, "there are no descriptors left"};
  const pid_t pid = Spawn(command, ends[1]);
  close(ends[1]);
  HealthReport report{Health::kCritical, ""};
  const base::SteadyTime end = clock.Steady() + within;
  bool open = true;
  int status = 0;
  for (;;) {
    if (pid < 0) {
      report.output = "it can't be started";
      break;
    }
    if (waitpid(pid, &status, WNOHANG) == pid) {
      // What it left running in the background may keep its output open.
      fcntl(ends[0], F_SETFL, O_NONBLOCK);
      if (open) ReadRest(ends[0], &report.output);
      report.health = HealthOf(status);
      break;
    }
    const absl::Duration left = end - clock.Steady();
    if (left <= absl::ZeroDuration() || ended) {
      kill(-pid, SIGKILL);
      waitpid(pid, nullptr, 0);
      report.output = absl::StrCat("it took longer than ", base::FormatDuration(within));
      break;
    }
    pollfd readable{open ? ends[0] : -1, POLLIN, 0};
    if (poll(&readable, 1, kLookMs) > 0) open = ReadSome(ends[0], &report.output);
  }
  close(ends[0]);
  return report;
}

}  // namespace muster::cli

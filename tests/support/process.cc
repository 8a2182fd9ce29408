#include "tests/support/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

extern char** environ;

namespace muster::test {

namespace fs = std::filesystem;

absl::Time Now() { return absl::Now(); }
void Pause(absl::Duration duration) { absl::SleepFor(duration); }

TempDir::TempDir() {
  std::string pattern = (fs::temp_directory_path() / "muster-test-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) ADD_FAILURE() << "no temporary directory";
  dir_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(dir_, ignored);
}

std::vector<std::string> WithConfig(const TempDir& dir, const std::string& yaml) {
  const std::string file = dir.path("musterd.yaml");
  std::ofstream(file) << yaml;
  return {"--config", file};
}

std::vector<std::string> WithoutBrake(const TempDir& dir) {
  return WithConfig(dir, "brake: {share: 0}\n");
}

Process::Process(const std::vector<std::string>& argv, const std::string& stderr_file) {
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
    ADD_FAILURE() << "no pipe";
    return;
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  if (!stderr_file.empty()) {
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, stderr_file.c_str(),
                                     O_WRONLY | O_CREAT | O_APPEND, 0644);
  }
  std::vector<char*> arguments;
  for (const std::string& word : argv) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const int error =
      posix_spawn(&pid_, argv[0].c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(pipe_fds[1]);
  out_ = pipe_fds[0];
  if (error != 0) {
    pid_ = -1;
    ADD_FAILURE() << argv[0] << " can't be started: error " << error;
  }
}

Process::~Process() {
  Kill();
  if (out_ >= 0) close(out_);
}

std::optional<std::string> Process::ReadLine(absl::Duration timeout) {
  const absl::Time deadline = Now() + timeout;
  for (;;) {
    if (const size_t end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    const absl::Duration left = deadline - Now();
    if (left <= absl::ZeroDuration()) return std::nullopt;
    pollfd ready{out_, POLLIN, 0};
    if (poll(&ready, 1, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1) <= 0) continue;
    char bytes[4096];
    const ssize_t got = read(out_, bytes, sizeof(bytes));
    if (got <= 0) return std::nullopt;
    buffer_.append(bytes, static_cast<size_t>(got));
  }
}

void Process::Signal(int signal) const {
  if (pid_ > 0 && !exit_code_) kill(pid_, signal);
}

std::optional<int> Process::Wait(absl::Duration timeout) {
  const absl::Time deadline = Now() + timeout;
  while (!exit_code_ && pid_ > 0) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    } else if (Now() >= deadline) {
      return std::nullopt;
    } else {
      Pause(absl::Milliseconds(2));
    }
  }
  return exit_code_;
}

bool Process::Running() { return pid_ > 0 && !Wait(absl::ZeroDuration()); }

void Process::Kill() {
  if (pid_ <= 0 || exit_code_) return;
  kill(pid_, SIGKILL);
  Wait();
}

std::string BinDir() {
  // build/X/tests/bin/x_test -> build/X/bin
  const fs::path self = fs::read_symlink("/proc/self/exe");
  return (self.parent_path().parent_path().parent_path() / "bin").string();
}

std::vector<std::string> WithOpenFiles(int open_files, const std::vector<std::string>& argv) {
  std::vector<std::string> out = {
      "/bin/sh", "-c",
      absl::StrCat("ulimit -Sn ", open_files / 2, " && ulimit -Hn ", open_files, " && exec \"$@\""),
      "sh"};
  out.insert(out.end(), argv.begin(), argv.end());
  return out;
}

Musterd::Musterd(const std::string& data_dir, std::vector<std::string> flags, int port,
                 int open_files, const std::string& host) {
  std::vector<std::string> argv = {BinDir() + "/musterd",
                                   "--data-dir",
                                   data_dir,
                                   "--grpc-listen",
                                   absl::StrCat(host, ":", port),
                                   "--http-listen",
                                   "off",
                                   "--dns-listen",
                                   "off"};
  argv.insert(argv.end(), flags.begin(), flags.end());
  if (open_files > 0) argv = WithOpenFiles(open_files, argv);
  process_ = std::make_unique<Process>(argv);
  const std::string line = process_->ReadLine(absl::Seconds(60)).value_or("");
  const std::string expected = absl::StrCat("ready grpc=", host, ":");
  if (line.rfind(expected, 0) != 0) {
    ADD_FAILURE() << "musterd did not say that it is ready, but: " << line;
    return;
  }
  port_ = std::atoi(line.c_str() + expected.size());
  address_ = absl::StrCat(host, ":", port_);
}

std::optional<int> Musterd::Stop() {
  process_->Signal(SIGTERM);
  return process_->Wait();
}

Usage UsageOf(pid_t pid) {
  Usage usage;
  const std::string proc = absl::StrCat("/proc/", pid);
  std::ifstream status(proc + "/status");
  for (std::string line; std::getline(status, line);) {
    std::istringstream words(line);
    std::string key;
    uint64_t value = 0;
    words >> key >> value;
    if (key == "VmRSS:") usage.resident_bytes = value * 1024;
    if (key == "RssAnon:") usage.anonymous_bytes = value * 1024;
    if (key == "Threads:") usage.threads = value;
  }
  std::error_code ignored;
  for ([[maybe_unused]] const auto& fd : fs::directory_iterator(proc + "/fd", ignored)) ++usage.fds;
  return usage;
}

}  // namespace muster::test

// Real processes for tests: started with posix_spawn, ended by their own id, output read by line.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace muster::test {

// Now, for deadlines of tests.
absl::Time Now();
void Pause(absl::Duration duration);

// A directory that is removed with all it holds.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  std::string path(const std::string& name = "") const { return (dir_ / name).string(); }

 private:
  std::filesystem::path dir_;
};

// Flags of musterd that give it a configuration file, written to `dir`, with this text.
std::vector<std::string> WithConfig(const TempDir& dir, const std::string& yaml);
// For tests of what becomes of services whose leases ended: most of theirs end at once, and the
// brake would hold them for minutes.
std::vector<std::string> WithoutBrake(const TempDir& dir);

class Process {
 public:
  // argv[0] is the program's path. stdout is read by ReadLine; stderr goes to the test's own, or to
  // `stderr_file`.
  explicit Process(const std::vector<std::string>& argv, const std::string& stderr_file = "");
  // Kills what still runs.
  ~Process();
  Process(const Process&) = delete;

  pid_t pid() const { return pid_; }
  // The next line of stdout without its end; nullopt at the end, or after `timeout`.
  std::optional<std::string> ReadLine(absl::Duration timeout = absl::Seconds(20));
  void Signal(int signal) const;
  // Exit code, or 128 + signal. nullopt: it still runs after `timeout`.
  std::optional<int> Wait(absl::Duration timeout = absl::Seconds(20));
  // SIGKILL, and waits.
  void Kill();
  bool Running();

 private:
  pid_t pid_ = -1;
  int out_ = -1;
  std::string buffer_;
  std::optional<int> exit_code_;
};

// Where the programs are; from the test's own place.
std::string BinDir();

// `argv` for a process whose hard limit of descriptors is `open_files`, and its soft one half of
// it.
std::vector<std::string> WithOpenFiles(int open_files, const std::vector<std::string>& argv);

// A serving musterd on a port of loopback.
class Musterd {
 public:
  // `flags` come after --data-dir and --grpc-listen. `port` 0 = a free one. `open_files`: the hard
  // limit of its descriptors, the soft one being half of it; 0 = as this process. `host`: an
  // address of loopback, an IPv6 one in brackets.
  explicit Musterd(const std::string& data_dir, std::vector<std::string> flags = {}, int port = 0,
                   int open_files = 0, const std::string& host = "127.0.0.1");

  const std::string& address() const { return address_; }
  int port() const { return port_; }
  Process& process() { return *process_; }
  pid_t pid() const { return process_->pid(); }
  void Kill() { process_->Kill(); }
  // SIGTERM; the exit code.
  std::optional<int> Stop();

 private:
  std::unique_ptr<Process> process_;
  std::string address_;
  int port_ = 0;
};

// What the kernel says of a process.
struct Usage {
  uint64_t resident_bytes = 0;
  uint64_t anonymous_bytes = 0;  // of those, what no file stands behind
  uint64_t fds = 0;
  uint64_t threads = 0;
};
Usage UsageOf(pid_t pid);

}  // namespace muster::test

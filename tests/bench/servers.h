// Servers under test: processes of their own on a free port of loopback, with data in a directory
// that goes with them, killed by their id at the end.
//
//   auto server = StartMusterd({});
//   const Meter meter(**server);
//   ... load ...
//   meter.CpuTime();
//
// Thread safety: none. Errors: a server that does not come up in time: UNAVAILABLE.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/bench/load.h"
#include "tests/support/process.h"

namespace muster::bench {

class ServerProcess {
 public:
  ServerProcess(std::unique_ptr<test::TempDir> dir, std::unique_ptr<test::Process> process,
                std::string address)
      : dir_(std::move(dir)), process_(std::move(process)), address_(std::move(address)) {}

  const std::string& address() const { return address_; }
  pid_t pid() const { return process_->pid(); }
  test::Process& process() { return *process_; }
  // REQUIRES: the directory was not taken.
  std::string data_dir() const { return dir_->path("data"); }
  // Gives the data away, to start a server on it again. REQUIRES: the process has ended.
  std::unique_ptr<test::TempDir> TakeDir() { return std::move(dir_); }

 private:
  std::unique_ptr<test::TempDir> dir_;  // goes after the process
  std::unique_ptr<test::Process> process_;
  std::string address_;
};

// On the data in `dir`, or on none.
absl::StatusOr<std::shared_ptr<ServerProcess>> StartMusterd(
    const std::vector<std::string>& flags = {}, std::unique_ptr<test::TempDir> dir = nullptr);
// tests/bench/yardstick: bare handlers. See yardstick/yardstick.h for its calls.
absl::StatusOr<std::shared_ptr<ServerProcess>> StartYardstick();
// Debian's etcd, one node, with its own defaults.
absl::StatusOr<std::shared_ptr<ServerProcess>> StartEtcd();

// CPU time of a process so far, all threads, user and system.
absl::Duration CpuTimeOf(pid_t pid);
// What the process made the kernel write to storage so far.
uint64_t WrittenBytesOf(pid_t pid);

// Of all files in a directory; what comes or goes meanwhile may be counted or not.
uint64_t BytesIn(const std::string& dir);
// Until the process has used next to no CPU time for some milliseconds; at most 1 s.
void AwaitRest(const ServerProcess& server);
// Memory that a process has for itself, its share of what it has with others included.
uint64_t MemoryOf(pid_t pid);

// What a server used since the meter was made.
class Meter {
 public:
  explicit Meter(const ServerProcess& server)
      : pid_(server.pid()), cpu_(CpuTimeOf(pid_)), written_(WrittenBytesOf(pid_)) {}
  absl::Duration CpuTime() const { return CpuTimeOf(pid_) - cpu_; }
  uint64_t WrittenBytes() const { return WrittenBytesOf(pid_) - written_; }

 private:
  const pid_t pid_;
  const absl::Duration cpu_;
  const uint64_t written_;
};

// Until the server has written nothing for `interval` and its memory has not shrunk: what follows a
// load is over. DEADLINE_EXCEEDED after 60 intervals.
absl::Status AwaitQuiet(const ServerProcess& server, absl::Duration interval = absl::Seconds(1));

// Registers the fixture's instances first…first + count - 1 by BatchRegister. Their lease handles.
absl::StatusOr<std::vector<uint64_t>> Fill(Client& client, size_t first, size_t count,
                                           size_t services);

}  // namespace muster::bench

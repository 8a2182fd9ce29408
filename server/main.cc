// musterd: flags -> configuration -> run until SIGTERM or SIGINT; a second one ends it at once.
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>

#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/app/flags.h"
#include "server/app/log.h"
#include "server/app/out_of_memory.h"
#include "server/app/server.h"
#include "server/app/standard_streams.h"

// Read by jemalloc where musterd is linked to it: what was freed goes back to the system within
// seconds, also from a server that has become idle. How each was chosen: docs/adr/0007.
extern "C" const char* malloc_conf;
const char* malloc_conf =
    "narenas:4,background_thread:true,dirty_decay_ms:10000,muzzy_decay_ms:0,slab_sizes:1-1024:64";

namespace {

std::optional<std::string> Environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

// Blocked before any thread starts, so that only Wait() takes them.
sigset_t BlockStopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

}  // namespace

int main(int argc, char** argv) {
  muster::app::SecureStandardStreams();
  const muster::app::FlagsResult flags = muster::app::ParseFlags(argc, argv, Environment);
  if (!flags.run) {
    std::cout << flags.out << std::flush;
    std::cerr << flags.err;
    return std::cout.good() ? flags.exit_code : 1;
  }
  // Distributions build Abseil so that each lock of gRPC's is looked up in one graph of them all.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  const sigset_t signals = BlockStopSignals();
  muster::app::InstallLog(flags.config.log_format, flags.config.log_level,
                          muster::base::RealClock());
  muster::app::EndWhenOutOfMemory();
  auto server = muster::app::Server::Start(flags.config);
  if (!server.ok()) {
    std::cerr << "musterd: " << server.status().message() << "\n";
    return 1;
  }
  std::cout << "ready grpc=" << (*server)->grpc_address() << std::endl;
  int signal = 0;
  sigwait(&signals, &signal);
  muster::base::Log(muster::base::LogLevel::kInfo, "stopping");
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  (*server)->Stop();
#if !defined(__SANITIZE_ADDRESS__)  // which looks for leaks at the end
  // The store is closed. gRPC's own end may wait ten seconds for one of its threads.
  std::cout.flush();
  std::_Exit(0);
#endif
  return 0;
}

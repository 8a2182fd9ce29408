// Calls that go on whatever dies: real services, found and called by the library.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "muster/client/client.h"
#include "tests/support/process.h"

namespace muster::test {
namespace {

using client::Attempt;
using client::Caller;
using client::CallerOptions;
using client::Client;

// Connects, and reads who it is. The socket is closed hard, so that ports aren't used up.
absl::StatusOr<std::string> Ask(const client::Endpoint& endpoint, absl::Duration timeout) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const linger hard{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(endpoint.address.port);
  inet_pton(AF_INET, endpoint.address.host.c_str(), &at.sin_addr);
  const auto finish = [fd](absl::StatusOr<std::string> answer) {
    close(fd);
    return answer;
  };
  if (connect(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0 && errno != EINPROGRESS) {
    return finish(absl::UnavailableError("can't connect"));
  }
  pollfd readable{fd, POLLIN, 0};
  if (poll(&readable, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) <= 0) {
    return finish(absl::DeadlineExceededError("no answer"));
  }
  char buffer[64];
  const ssize_t got = read(fd, buffer, sizeof buffer);
  if (got <= 1) return finish(absl::UnavailableError("connection lost"));
  return finish(std::string(buffer, static_cast<size_t>(got - 1)));
}

// So many calls a second by four threads, until it ends.
class Calling {
 public:
  Calling(const Caller& caller, int per_second) : caller_(caller) {
    for (int t = 0; t < kThreads; ++t) {
      threads_.emplace_back([this, pause = absl::Seconds(1) / per_second * kThreads] {
        for (absl::Time next = Now(); !stop_; next += pause) {
          absl::SleepFor(next - Now());
          Call();
        }
      });
    }
  }
  ~Calling() { Stop(); }
  void Stop() {
    stop_ = true;
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

  int calls() const { return calls_; }
  // The statuses of those that failed.
  std::vector<std::string> failed() const {
    base::MutexLock lock(mu_);
    return failed_;
  }
  // Attempts that went to it so far.
  int attempts(const std::string& id) const {
    base::MutexLock lock(mu_);
    const auto found = attempts_.find(id);
    return found == attempts_.end() ? 0 : found->second;
  }
  int answers(const std::string& id) const {
    base::MutexLock lock(mu_);
    const auto found = answers_.find(id);
    return found == answers_.end() ? 0 : found->second;
  }

 private:
  static constexpr int kThreads = 4;

  void Call() {
    const absl::Status status = caller_.Call([this](const Attempt& attempt) {
      Note(&attempts_, attempt.endpoint.id);
      const auto answer = Ask(attempt.endpoint, attempt.timeout);
      if (answer.ok()) Note(&answers_, *answer);
      return answer.status();
    });
    ++calls_;
    if (status.ok()) return;
    base::MutexLock lock(mu_);
    failed_.push_back(status.ToString());
  }
  void Note(std::map<std::string, int>* counts, const std::string& id) {
    base::MutexLock lock(mu_);
    ++(*counts)[id];
  }

  const Caller caller_;
  std::atomic<bool> stop_{false};
  std::atomic<int> calls_{0};
  mutable base::Mutex mu_;
  std::map<std::string, int> attempts_ MUSTER_GUARDED_BY(mu_);
  std::map<std::string, int> answers_ MUSTER_GUARDED_BY(mu_);
  std::vector<std::string> failed_ MUSTER_GUARDED_BY(mu_);
  std::vector<std::thread> threads_;
};

class CallsScenario : public ::testing::Test {
 protected:
  void Start() {
    server_ = nullptr;
    server_ = std::make_unique<Musterd>(dir_.path("data"), std::vector<std::string>{}, port_);
    port_ = server_->port();
  }
  // `waits`: until it is registered.
  std::unique_ptr<Process> StartService(const std::string& id, bool waits = true) {
    auto process = std::make_unique<Process>(std::vector<std::string>{
        BinDir() + "/../tests/bin/echo_process", server_->address(), "web", id});
    EXPECT_TRUE(process->ReadLine().has_value());
    if (waits) {
      EXPECT_EQ(process->ReadLine(), "held");
    }
    return process;
  }
  Caller MakeCaller(CallerOptions options = {}) {
    const auto client = Client::Create({.servers = {server_->address()}, .snapshot = false});
    EXPECT_TRUE(client.ok()) << client.status();
    auto caller = client->CallerOf("web", std::move(options));
    EXPECT_TRUE(caller.ok()) << caller.status();
    return *caller;
  }
  static bool Comes(absl::Duration within, const std::function<bool()>& is_so) {
    const absl::Time end = Now() + within;
    while (!is_so()) {
      if (Now() > end) return false;
      absl::SleepFor(absl::Milliseconds(5));
    }
    return true;
  }

  const TempDir dir_;
  std::unique_ptr<Musterd> server_;
  int port_ = 0;
};

// Drill: the registry is killed under 2,000 calls a second. While it is away an instance is killed,
// and another one is started.
TEST_F(CallsScenario, NoCallFailsWhileTheRegistryIsAwayAndAnInstanceDies) {
  Start();
  const auto a = StartService("a");
  const auto b = StartService("b");
  const auto c = StartService("c");
  Calling calling(MakeCaller(), 2'000);
  absl::SleepFor(absl::Seconds(1));
  EXPECT_GT(calling.answers("a"), 0);
  server_->Kill();
  absl::SleepFor(absl::Milliseconds(500));
  a->Kill();
  const auto d = StartService("d", false);
  absl::SleepFor(absl::Seconds(2));
  EXPECT_EQ(calling.answers("d"), 0) << "nobody knows of it yet";
  Start();
  const absl::Time back = Now();
  EXPECT_TRUE(Comes(absl::Seconds(2), [&] { return calling.answers("d") > 0; }));
  std::cout << "the new instance is called " << absl::FormatDuration(Now() - back)
            << " after the registry's return\n";
  absl::SleepFor(absl::Seconds(1));
  calling.Stop();
  EXPECT_EQ(calling.failed(), std::vector<std::string>{});
  EXPECT_GT(calling.calls(), 5'000);
  std::cout << calling.calls() << " calls, " << calling.attempts("a") - calling.answers("a")
            << " attempts at the instance that died\n";
}

// Drill: an instance hangs.
TEST_F(CallsScenario, CallsStopGoingToAnInstanceThatHangsAndReturn) {
  Start();
  const auto a = StartService("a");
  const auto b = StartService("b");
  const auto c = StartService("c");
  // It is left out after five time-outs in a row: four threads find that out in two time-outs.
  Calling calling(MakeCaller({.timeout = absl::Milliseconds(300),
                              .endpoint_breaker = {.in_a_row = 5, .reset = absl::Seconds(2)}}),
                  400);
  absl::SleepFor(absl::Seconds(1));
  kill(b->pid(), SIGSTOP);
  absl::SleepFor(absl::Seconds(1));
  const int before = calling.attempts("b");
  const int answers = calling.answers("b");
  absl::SleepFor(absl::Milliseconds(1'500));
  EXPECT_LE(calling.attempts("b") - before, 1) << "one probe at most";
  kill(b->pid(), SIGCONT);
  EXPECT_TRUE(Comes(absl::Seconds(3), [&] { return calling.answers("b") > answers + 20; }));
  calling.Stop();
  EXPECT_EQ(calling.failed(), std::vector<std::string>{});
}

}  // namespace
}  // namespace muster::test

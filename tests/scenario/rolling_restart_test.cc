// Every instance of a service is restarted, one after the other, under calls that are made once:
// without retries, over connections that are kept.
#include <arpa/inet.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/channel_arguments.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "muster/client/client.h"
#include "muster/client/service_channel.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

using client::Client;
using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

constexpr int kInstances = 10;
constexpr int kPerSecond = 1'000;
constexpr int kThreads = 16;

absl::Status Failed(const std::string& what) {
  return absl::UnavailableError(absl::StrCat(what, ": ", strerror(errno)));
}

// The connections of one thread, each kept for the next call to the same address as long as its
// other end is open.
class Connections {
 public:
  ~Connections() {
    for (const auto& [port, fd] : kept_) close(fd);
  }

  absl::StatusOr<std::string> Ask(const client::Endpoint& endpoint, absl::Duration timeout) {
    const uint16_t port = endpoint.address.port;
    const auto fd = Open(port);
    if (!fd.ok()) return fd.status();
    auto answer = AskOn(*fd, timeout);
    if (answer.ok()) {
      kept_[port] = *fd;
    } else {
      close(*fd);
    }
    return answer;
  }

 private:
  absl::StatusOr<int> Open(uint16_t port) {
    if (const auto kept = kept_.find(port); kept != kept_.end()) {
      const int fd = kept->second;
      kept_.erase(kept);
      pollfd ended{fd, POLLIN, 0};
      if (poll(&ended, 1, 0) == 0) return fd;
      close(fd);
    }
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at.sin_port = htons(port);
    if (connect(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0) return fd;
    const absl::Status refused = Failed("connect");
    close(fd);
    return refused;
  }
  static absl::StatusOr<std::string> AskOn(int fd, absl::Duration timeout) {
    if (send(fd, "?\n", 2, MSG_NOSIGNAL) != 2) return Failed("send");
    pollfd readable{fd, POLLIN, 0};
    if (poll(&readable, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) <= 0) {
      return absl::DeadlineExceededError("no answer");
    }
    char buffer[64];
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got == 0) return absl::UnavailableError("closed without an answer");
    if (got < 0) return Failed("read");
    return std::string(buffer, static_cast<size_t>(got - 1));
  }

  std::map<uint16_t, int> kept_;
};

// One call; who answered.
using Ask = std::function<absl::StatusOr<std::string>()>;

// So many calls a second until it is stopped. `for_a_thread` makes what each thread calls with.
class Calls {
 public:
  explicit Calls(const std::function<Ask()>& for_a_thread) {
    for (int t = 0; t < kThreads; ++t) {
      threads_.emplace_back([this, ask = for_a_thread()] {
        const absl::Duration pause = absl::Seconds(1) / kPerSecond * kThreads;
        for (absl::Time next = Now(); !stop_; next += pause) {
          absl::SleepFor(next - Now());
          Count(ask());
        }
      });
    }
  }
  ~Calls() { Stop(); }
  void Stop() {
    stop_ = true;
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

  int calls() const { return calls_; }
  std::vector<std::string> failed() const {
    base::MutexLock lock(mu_);
    return failed_;
  }
  int answers(const std::string& who) const {
    base::MutexLock lock(mu_);
    const auto found = answers_.find(who);
    return found == answers_.end() ? 0 : found->second;
  }

 private:
  void Count(const absl::StatusOr<std::string>& answer) {
    ++calls_;
    base::MutexLock lock(mu_);
    if (answer.ok()) {
      ++answers_[*answer];
    } else {
      failed_.push_back(answer.status().ToString());
    }
  }

  std::atomic<bool> stop_{false};
  std::atomic<int> calls_{0};
  mutable base::Mutex mu_;
  std::map<std::string, int> answers_ MUSTER_GUARDED_BY(mu_);
  std::vector<std::string> failed_ MUSTER_GUARDED_BY(mu_);
  std::vector<std::thread> threads_;
};

class RollingRestart : public ::testing::Test {
 protected:
  struct Instance {
    std::string id;
    int port = 0;
    std::unique_ptr<Process> process;
  };

  // On this port; 0: on another one. It is registered when this returns.
  void Start(Instance& instance, int port) const {
    instance.process = std::make_unique<Process>(
        std::vector<std::string>{BinDir() + "/../tests/bin/leaving_process", server_.address(),
                                 "web", instance.id, absl::StrCat(port), how_, drain_ms_, "50"});
    const auto listening = instance.process->ReadLine();
    ASSERT_TRUE(listening.has_value());
    instance.port = std::stoi(listening->substr(std::string("listening ").size()));
    ASSERT_EQ(instance.process->ReadLine(), "held");
  }
  void StartAll(const std::string& how, const std::string& drain_ms) {
    how_ = how;
    drain_ms_ = drain_ms;
    for (int i = 0; i < kInstances; ++i) {
      instances_.push_back({absl::StrCat("i", i), 0, nullptr});
      Start(instances_.back(), 0);
    }
  }
  // SIGTERM, until it has ended; and started anew. What it said of its end.
  std::string Restart(Instance& instance, bool same_port) const {
    instance.process->Signal(SIGTERM);
    const std::string said = instance.process->ReadLine().value_or("");
    EXPECT_EQ(instance.process->Wait(), 0) << said;
    Start(instance, same_port ? instance.port : 0);
    return said;
  }
  Client MakeClient() const {
    auto client = Client::Create({.servers = {server_.address()}, .snapshot = false});
    EXPECT_TRUE(client.ok()) << client.status();
    return *client;
  }
  static client::CallerOptions Once() {
    return {.retry = std::make_shared<client::LimitedAttempts>(1), .retry_budget = 0};
  }
  // By the application's own connections; who answers is told by its id.
  static std::function<Ask()> ByCaller(const Client& client) {
    const auto caller = client.CallerOf("web", Once());
    EXPECT_TRUE(caller.ok()) << caller.status();
    return [caller = *caller]() -> Ask {
      return
          [caller, connections = std::make_shared<Connections>()]() -> absl::StatusOr<std::string> {
            absl::StatusOr<std::string> answer;
            const absl::Status status = caller.Call([&](const client::Attempt& attempt) {
              answer = connections->Ask(attempt.endpoint, attempt.timeout);
              return answer.status();
            });
            if (status.ok()) return answer;
            return status;
          };
    };
  }
  // By the library's channel for gRPC, without what gRPC retries by itself; who answers is told by
  // its port.
  static std::function<Ask()> ByChannel(const Client& client) {
    const auto channel = client.Channel(
        "web", {.caller = Once(), .arguments = [](grpc::ChannelArguments& arguments) {
                  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
                }});
    EXPECT_TRUE(channel.ok()) << channel.status();
    return [channel = *channel]() -> Ask {
      const std::shared_ptr<Health::Stub> stub = Health::NewStub(channel);
      return [stub]() -> absl::StatusOr<std::string> {
        grpc::ClientContext context;
        HealthCheckResponse response;
        const grpc::Status status = stub->Check(&context, HealthCheckRequest(), &response);
        if (!status.ok()) {
          return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                              status.error_message());
        }
        const std::string peer = context.peer();
        return peer.substr(peer.rfind(':') + 1);
      };
    };
  }
  // All of them, the first half on the ports that they had.
  void RestartAll(const std::function<Ask()>& by,
                  const std::function<std::string(const Instance&)>& name) {
    Calls calls(by);
    for (const Instance& instance : instances_) {
      ASSERT_TRUE(Eventually([&] { return calls.answers(name(instance)) > 0; })) << instance.id;
    }
    const absl::Time began = Now();
    absl::Duration longest;
    for (Instance& instance : instances_) {
      const absl::Time told = Now();
      EXPECT_EQ(Restart(instance, &instance < &instances_[kInstances / 2]), "drained 1 1");
      longest = std::max(longest, Now() - told);
      const int before = calls.answers(name(instance));
      EXPECT_TRUE(Eventually([&] { return calls.answers(name(instance)) > before; }))
          << instance.id;
    }
    const absl::Duration took = Now() - began;
    calls.Stop();
    EXPECT_EQ(calls.failed(), std::vector<std::string>{});
    EXPECT_GT(calls.calls(), 1'000);
    std::cout << calls.calls() << " calls, " << calls.failed().size() << " failed; " << kInstances
              << " restarts took " << absl::FormatDuration(took) << ", the longest "
              << absl::FormatDuration(longest) << std::endl;
  }

  const TempDir dir_;
  Musterd server_{dir_.path("data")};
  std::string how_;
  std::string drain_ms_;
  std::vector<Instance> instances_;
};

TEST_F(RollingRestart, NoCallFailsThoughEachIsMadeOnce) {
  StartAll("lines", "10000");
  RestartAll(ByCaller(MakeClient()), [](const Instance& instance) { return instance.id; });
}

TEST_F(RollingRestart, NorDoesOneOfGrpc) {
  StartAll("grpc", "10000");
  RestartAll(ByChannel(MakeClient()),
             [](const Instance& instance) { return absl::StrCat(instance.port); });
}

// A callback of the application's takes so long, and what is chosen from is renewed behind it: much
// later than instances end that don't wait for it.
class SlowRollingRestart : public RollingRestart {
 protected:
  Client MakeSlowClient() {
    Client client = MakeClient();
    auto watching =
        client.Watch("web", [](const client::Resolution&) { Pause(absl::Milliseconds(300)); });
    EXPECT_TRUE(watching.ok()) << watching.status();
    watching_ = *std::move(watching);
    return client;
  }

  Client::Subscription watching_;
};

TEST_F(SlowRollingRestart, NorDoesOneOfWhoHearsLate) {
  StartAll("lines", "10000");
  RestartAll(ByCaller(MakeSlowClient()), [](const Instance& instance) { return instance.id; });
}

// What is shown above is worth something only if it can go wrong.
TEST_F(SlowRollingRestart, WithoutADrainSomeCallsFail) {
  StartAll("lines", "0");
  Calls calls(ByCaller(MakeSlowClient()));
  int restarts = 0;
  while (calls.failed().empty() && restarts < 5 * kInstances) {
    Instance& instance = instances_[restarts++ % kInstances];
    EXPECT_EQ(Restart(instance, true), "not drained");
    const int before = calls.answers(instance.id);
    EXPECT_TRUE(Eventually([&] { return calls.answers(instance.id) > before; }));
  }
  calls.Stop();
  ASSERT_FALSE(calls.failed().empty());
  std::cout << calls.failed().size() << " calls failed in restart " << restarts
            << ", the first: " << calls.failed().at(0) << std::endl;
}

}  // namespace
}  // namespace muster::test

// Calls that go on whatever dies: real services, found and called by the library.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "muster/client/client.h"
#include "tests/scenario/calling.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

using client::Caller;
using client::CallerOptions;
using client::Client;

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
  EXPECT_TRUE(Eventually([&] { return calling.answers("d") > 0; }, absl::Seconds(2)));
  std::cout << "the new instance is called " << absl::FormatDuration(Now() - back)
            << " after the registry's return\n";
  absl::SleepFor(absl::Seconds(1));
  calling.Stop();
  EXPECT_EQ(calling.failed(), std::vector<std::string>{});
  EXPECT_GT(calling.calls(), 5'000);
  std::cout << calling.calls() << " calls, " << calling.attempts("a") - calling.answers("a")
            << " attempts at the instance that died\n";
}

// Drill: the registry comes back without its data, and its instances one by one.
TEST_F(CallsScenario, NobodyGetsMoreThanItsPartWhileTheRegistryFillsUpAnew) {
  Start();
  constexpr int kInstances = 6;
  std::vector<std::unique_ptr<Process>> services;
  for (int i = 0; i < kInstances; ++i) services.push_back(StartService(absl::StrCat("i", i)));
  const auto client = Client::Create({.servers = {server_->address()}, .snapshot = false});
  ASSERT_TRUE(client.ok());
  std::atomic<size_t> fewest{kInstances};
  std::atomic<bool> back{false};
  const auto watch = client->Watch("web", [&](const client::Resolution& answer) {
    fewest = std::min(fewest.load(), answer.endpoints->size());
    back = answer.source == client::Resolution::Source::kRegistry;
  });
  ASSERT_TRUE(watch.ok());
  Calling calling(*client->CallerOf("web"), 600);
  absl::SleepFor(absl::Seconds(1));
  server_->Kill();
  ASSERT_TRUE(Eventually([&] { return !back; }));
  std::filesystem::remove_all(dir_.path("data"));
  const int before = calling.calls();
  std::map<std::string, int> answers = calling.answers();
  Start();
  EXPECT_TRUE(Eventually([&] { return back.load(); })) << "all are back";
  const int calls = calling.calls() - before;
  calling.Stop();
  EXPECT_GT(calls, 200) << "they come back within five seconds, each when it likes";
  for (const auto& [id, count] : calling.answers()) {
    const double part = static_cast<double>(count - answers[id]) / calls;
    std::cout << id << " had " << part << " of the calls\n";
    EXPECT_NEAR(part, 1.0 / kInstances, 0.05) << id;
  }
  EXPECT_EQ(fewest, static_cast<size_t>(kInstances));
  EXPECT_EQ(calling.failed(), std::vector<std::string>{});
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
  EXPECT_TRUE(Eventually([&] { return calling.answers("b") > answers + 20; }, absl::Seconds(3)));
  calling.Stop();
  EXPECT_EQ(calling.failed(), std::vector<std::string>{});
}

}  // namespace
}  // namespace muster::test

// The client library against real servers that die, stop, forget and come back.
#include "muster/client/client.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "base/log.h"
#include "tests/scenario/certificates.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

using client::Client;
using client::Options;
using client::Resolution;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSlowness = 15;
#else
constexpr int kSlowness = 1;
#endif

v1::RegisterRequest Instance(const std::string& service, const std::string& id) {
  v1::RegisterRequest request;
  v1::Instance& instance = *request.mutable_instance();
  instance.set_service(service);
  instance.set_id(id);
  instance.set_address("10.0.0.1");
  instance.set_port(80);
  request.set_permanent(true);
  return request;
}

class ClientScenario : public ::testing::Test {
 protected:
  void Start(const std::string& data) {
    server_ = nullptr;
    server_ = std::make_unique<Musterd>(dir_.path(data), std::vector<std::string>{}, port_);
    port_ = server_->port();
  }
  void Register(const std::string& id, const std::string& service = "web") {
    Remote remote(server_->address());
    v1::RegisterResponse response;
    const grpc::Status status = remote.Register(Instance(service, id), &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  Client Connect(Options options = {}) {
    options.servers = {server_->address()};
    options.snapshot = !options.snapshot_path.empty();
    auto client = Client::Create(std::move(options));
    EXPECT_TRUE(client.ok()) << client.status();
    return *client;
  }
  static size_t Count(const Client& client) {
    const auto answer = client.Resolve("web");
    EXPECT_TRUE(answer.ok()) << answer.status();
    return answer.ok() ? answer->endpoints->size() : 0;
  }
  static bool IsLive(const Client& client) {
    const auto answer = client.Resolve("web");
    return answer.ok() && answer->source == Resolution::Source::kRegistry;
  }

  const TempDir dir_;
  std::unique_ptr<Musterd> server_;
  int port_ = 0;
};

TEST_F(ClientScenario, AnswersThroughAnOutageAndLearnsWhatChanged) {
  Start("data");
  Register("a");
  const Client client = Connect();
  EXPECT_EQ(Count(client), 1u);
  Register("b");
  EXPECT_TRUE(Eventually([&] { return Count(client) == 2; }, absl::Seconds(5)));
  server_->Kill();
  EXPECT_TRUE(Eventually([&] { return !IsLive(client); }, absl::Seconds(5)));
  absl::SleepFor(absl::Milliseconds(300));
  const auto answer = client.Resolve("web");
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->source, Resolution::Source::kLastKnown);
  EXPECT_EQ(answer->endpoints->size(), 2u);
  EXPECT_GE(answer->age, absl::Milliseconds(300));
  EXPECT_LT(answer->age, absl::Seconds(30));
  Start("data");
  Register("c");
  EXPECT_TRUE(Eventually([&] { return IsLive(client) && Count(client) == 3; }, absl::Seconds(2)));
}

TEST_F(ClientScenario, ARegistryThatLostItsStoreEmptiesNobody) {
  Start("data");
  Register("a");
  const Client client = Connect({.keep_last = absl::Seconds(3)});
  EXPECT_EQ(Count(client), 1u);
  server_->Kill();
  Start("empty");
  const absl::Time back = Now();
  while (Now() < back + absl::Seconds(1)) {
    ASSERT_EQ(Count(client), 1u);
    absl::SleepFor(absl::Milliseconds(5));
  }
  Register("b");
  EXPECT_TRUE(Eventually([&] { return IsLive(client); }, absl::Seconds(3)));
  EXPECT_EQ(client.Resolve("web")->endpoints->front()->id, "b");
}

TEST_F(ClientScenario, ARegistryThatIsAwayAtTheStartIsNamedAndFoundLater) {
  Start("data");
  Register("a");
  server_->Kill();
  const Client client = Connect({.first_answer = absl::Milliseconds(200)});
  const absl::Status away = client.Resolve("web").status();
  EXPECT_TRUE(absl::IsUnavailable(away)) << away;
  EXPECT_NE(std::string(away.message()).find(server_->address()), std::string::npos) << away;
  Start("data");
  EXPECT_TRUE(Eventually([&] { return client.Resolve("web").ok(); }, absl::Seconds(5)));
}

TEST_F(ClientScenario, AServerThatHangsIsGivenUpForTheNext) {
  Start("data");
  Register("a");
  Musterd hangs(dir_.path("hangs"));
  kill(hangs.pid(), SIGSTOP);
  bool waited = false;
  while (!waited) {  // until it was the first that was asked
    const auto client = Client::Create({.servers = {hangs.address(), server_->address()},
                                        .first_answer = absl::Seconds(20),
                                        .snapshot = false});
    ASSERT_TRUE(client.ok());
    const absl::Time begin = Now();
    const auto answer = client->Resolve("web");
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->endpoints->size(), 1u);
    waited = Now() - begin > absl::Seconds(1);
  }
  kill(hangs.pid(), SIGCONT);
}

TEST_F(ClientScenario, ListenersHearOfEachChange) {
  Start("data");
  const Client client = Connect();
  base::Mutex mu;
  std::vector<size_t> sizes;
  auto held = client.Watch("web", [&](const Resolution& resolution) {
    base::MutexLock lock(mu);
    sizes.push_back(resolution.endpoints->size());
  });
  ASSERT_TRUE(held.ok());
  const auto heard = [&](size_t size) {
    return Eventually(
        [&] {
          base::MutexLock lock(mu);
          return !sizes.empty() && sizes.back() == size;
        },
        absl::Seconds(5));
  };
  EXPECT_TRUE(heard(0));
  for (size_t i = 1; i <= 20; ++i) {
    Register(absl::StrCat("i", i));
    EXPECT_TRUE(heard(i)) << i;
  }
}

TEST_F(ClientScenario, TlsAndTokensAreSpoken) {
  Authority authority(dir_.path("authority"));
  authority.Issue("server");
  WriteText(dir_.path("tokens"), "read a-long-enough-token-to-be-taken-0123456789\n");
  Musterd server(dir_.path("data"), {"--tls-cert", authority.cert("server"), "--tls-key",
                                     authority.key("server"), "--tokens", dir_.path("tokens")});
  const auto ask = [&](const std::string& by, const std::string& trust) {
    const auto client = Client::Create({.servers = {server.address()},
                                        .token = by,
                                        .ca = trust,
                                        .first_answer = absl::Seconds(1),
                                        .snapshot = false});
    return client->Resolve("web").status();
  };
  const std::string ca = ReadText(authority.ca());
  const std::string token = "a-long-enough-token-to-be-taken-0123456789";
  EXPECT_TRUE(ask(token, ca).ok());
  EXPECT_TRUE(absl::IsUnauthenticated(ask("another-token-that-nobody-knows-of-0123456", ca)));
  EXPECT_FALSE(ask(token, "").ok());
}

// Drill: the registry is down when the application starts.
TEST_F(ClientScenario, AnApplicationThatStartsWithoutARegistryAnswersFromItsSnapshot) {
  Start("data");
  constexpr int kServices = 1'000;
  constexpr int kEach = 10;
  {
    Remote remote(server_->address());
    for (int s = 0; s < kServices; ++s) {
      v1::BatchRegisterRequest batch;
      for (int i = 0; i < kEach; ++i) {
        *batch.add_requests() = Instance(absl::StrCat("s", s), absl::StrCat("i", i));
      }
      grpc::ClientContext context;
      v1::BatchRegisterResponse response;
      ASSERT_TRUE(remote.registry->BatchRegister(&context, batch, &response).ok());
    }
  }
  const Options options{.snapshot_path = dir_.path("cache/app.snapshot")};
  {
    const Client client = Connect(options);
    for (int s = 0; s < kServices; ++s) {
      ASSERT_EQ(client.Resolve(absl::StrCat("s", s))->endpoints->size(), kEach) << s;
    }
  }
  const absl::Time written = Now();
  server_->Kill();
  absl::SleepFor(absl::Seconds(2));
  // Other tests run at the same time, and take the processor away: the fastest of fifty counts.
  const absl::Duration bound = absl::Milliseconds(20) * kSlowness;
  absl::Duration took = absl::InfiniteDuration();
  for (int round = 0; round < 50 && took >= bound; ++round) {
    const absl::Time begin = Now();
    const Client fresh = Connect(options);
    for (int s = 0; s < kServices; ++s) {
      const auto answer = fresh.Resolve(absl::StrCat("s", s));
      ASSERT_TRUE(answer.ok()) << answer.status();
      ASSERT_EQ(answer->endpoints->size(), kEach) << s;
      ASSERT_EQ(answer->source, Resolution::Source::kSnapshot);
    }
    took = std::min(took, Now() - begin);
  }
  EXPECT_LT(took, bound);
  std::cout << "1,000 services of 10 endpoints answered in " << absl::FormatDuration(took) << "\n";
  const Client client = Connect(options);
  const auto answer = client.Resolve("s0");
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_GE(answer->age, absl::Seconds(2)) << "however often it was written again";
  EXPECT_LE(answer->age, Now() - written + absl::Seconds(1));
  Start("data");
  EXPECT_TRUE(
      Eventually([&] { return client.Resolve("s7")->source == Resolution::Source::kRegistry; },
                 absl::Seconds(5)))
      << "live answers take over by themselves";
}

TEST_F(ClientScenario, ASnapshotThatIsCorruptedIsIgnoredAndReported) {
  Start("data");
  Register("a");
  const Options options{.first_answer = absl::Milliseconds(300),
                        .snapshot_path = dir_.path("app.snapshot")};
  EXPECT_EQ(Count(Connect(options)), 1u);
  server_->Kill();
  EXPECT_EQ(Connect(options).Resolve("web")->source, Resolution::Source::kSnapshot);
  std::string bytes = ReadText(options.snapshot_path);
  bytes[bytes.size() / 2] ^= 1;
  WriteText(options.snapshot_path, bytes);
  std::vector<std::string> logged;
  base::SetLogSink([&](base::LogLevel, std::string_view message, auto fields) {
    logged.push_back(absl::StrCat(std::string(message), " ", fields[0].value));
  });
  const Client client = Connect(options);
  base::SetLogSink(nullptr);
  EXPECT_EQ(logged,
            std::vector<std::string>{absl::StrCat("the snapshot is ignored ", options.snapshot_path,
                                                  " is no snapshot: its checksum is wrong")});
  EXPECT_TRUE(absl::IsUnavailable(client.Resolve("web").status()));
}

TEST_F(ClientScenario, ABalancerFollowsTheRegistryAndStaysThroughAnOutage) {
  Start("data");
  const Client client = Connect();
  const auto balancer = client.Balance("web", {.policy = client::Policy::kRoundRobin});
  ASSERT_TRUE(balancer.ok()) << balancer.status();
  EXPECT_FALSE(balancer->Next());
  EXPECT_EQ(balancer->status().message(), "no service \"web\" is known");
  const auto chosen = [&] {
    std::set<std::string> ids;
    for (int i = 0; i < 20; ++i) {
      if (auto pick = balancer->Next()) ids.insert(pick->id);
    }
    return ids;
  };
  Register("a");
  Register("b");
  EXPECT_TRUE(Eventually(
      [&] {
        return chosen() == std::set<std::string>{"a", "b"};
      },
      absl::Seconds(5)));
  server_->Kill();
  absl::SleepFor(absl::Milliseconds(300));
  EXPECT_EQ(chosen(), (std::set<std::string>{"a", "b"}));
  Start("data");
  Register("c");
  EXPECT_TRUE(Eventually([&] { return chosen().size() == 3; }, absl::Seconds(5)));
  EXPECT_TRUE(absl::IsInvalidArgument(client.Balance("a b").status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(client.Balance("web", {.slow_start = -absl::Seconds(1)}).status()));
}

TEST_F(ClientScenario, ManyClientsInOneProcessComeAndGo) {
  Start("data");
  Register("a");
  std::vector<std::thread> threads;
  std::atomic<int> answered{0};
  for (int t = 0; t < 10; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10; ++i) {
        const Client client = Connect();
        if (Count(client) == 1) ++answered;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered, 100);
}

}  // namespace
}  // namespace muster::test

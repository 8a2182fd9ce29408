// 200 times SIGKILL of a real musterd under mixed load: what was acknowledged is there, what is
// there was asked for, the store is sound.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include "absl/strings/numbers.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

constexpr int kWriters = 4;
constexpr int kIds = 12;

uint64_t Setting(const char* name, uint64_t fallback) {
  const char* text = std::getenv(name);
  uint64_t value = 0;
  return text != nullptr && absl::SimpleAtoi(text, &value) ? value : fallback;
}

// What discovering clients see of an instance.
struct State {
  uint32_t port = 0;
  v1::Health health = v1::PASSING;
  auto operator<=>(const State&) const = default;
};
// One of these is true: the last one when it was acknowledged, else it or the one before.
using Possible = std::set<std::optional<State>>;

// Owns the instances of one service: one call at a time, so that it knows what each may be.
class Writer {
 public:
  Writer(int number, uint64_t seed) : service_(absl::StrCat("w", number)), random_(seed) {
    for (int i = 0; i < kIds; ++i) possible_[absl::StrCat("i", i)] = {std::nullopt};
  }

  // Until the server is gone.
  void Run(const std::string& address) {
    Remote remote(address);
    while (Once(remote)) ++acknowledged_;
  }

  // "" when the server has what it has to have; takes over what it has.
  std::string Check(Remote& remote) {
    v1::Selector all;
    all.set_min_health(v1::Selector::ANY);
    all.set_include_draining(true);
    const v1::DiscoverResponse found = remote.Discover(service_, &all);
    std::map<std::string, State> there;
    for (const v1::Endpoint& endpoint : found.endpoints()) {
      if (!possible_.contains(endpoint.id())) return "nobody registered " + endpoint.id();
      there[endpoint.id()] = {endpoint.port(), endpoint.health()};
    }
    for (auto& [id, possible] : possible_) {
      const auto it = there.find(id);
      const auto is = it == there.end() ? std::nullopt : std::optional(it->second);
      if (!possible.contains(is)) {
        return absl::StrCat(service_, "/", id, " is ",
                            is ? absl::StrCat("port ", is->port) : "gone",
                            ", and was acknowledged otherwise");
      }
      possible = {is};
    }
    return "";
  }
  uint64_t acknowledged() const { return acknowledged_; }

 private:
  bool Once(Remote& remote) {
    const std::string id = absl::StrCat("i", random_() % kIds);
    Possible& possible = possible_[id];
    const std::optional<State> now = *possible.begin();
    const uint64_t kind = random_() % 8;
    if (now && kind == 0) return Settle(possible, std::nullopt, Deregister(remote, id));
    if (now && kind < 3) {
      const v1::Health health = random_() % 2 == 0 ? v1::CRITICAL : v1::WARNING;
      return Settle(possible, State{now->port, health}, Report(remote, id, health));
    }
    // Beyond every earlier one. A changed definition keeps the health of its check.
    const State next{++port_, now ? now->health : v1::PASSING};
    return Settle(possible, next, Register(remote, id, next.port));
  }
  static bool Settle(Possible& possible, std::optional<State> next, bool acknowledged) {
    if (acknowledged) possible.clear();
    possible.insert(next);
    return acknowledged;
  }

  bool Register(Remote& remote, const std::string& id, uint32_t port) const {
    v1::RegisterRequest request;
    auto& instance = *request.mutable_instance();
    instance.set_service(service_);
    instance.set_id(id);
    instance.set_address("10.0.0.1");
    instance.set_port(port);
    auto& check = *instance.add_checks();
    check.set_id("c");
    check.mutable_ttl()->mutable_ttl()->set_seconds(3600);
    check.set_initial_status(v1::PASSING);
    request.set_permanent(true);
    grpc::ClientContext context;
    v1::RegisterResponse response;
    return Try(context, remote.registry->Register(Timed(context), request, &response));
  }
  bool Deregister(Remote& remote, const std::string& id) const {
    grpc::ClientContext context;
    v1::DeregisterRequest request;
    *request.mutable_key() = Key(id);
    v1::DeregisterResponse response;
    return Try(context, remote.registry->Deregister(Timed(context), request, &response));
  }
  bool Report(Remote& remote, const std::string& id, v1::Health health) const {
    grpc::ClientContext context;
    v1::ReportHealthRequest request;
    *request.mutable_key() = Key(id);
    request.set_check_id("c");
    request.set_status(health);
    v1::ReportHealthResponse response;
    return Try(context, remote.registry->ReportHealth(Timed(context), request, &response));
  }
  static grpc::ClientContext* Timed(grpc::ClientContext& context) {
    context.set_deadline(absl::ToChronoTime(Now() + absl::Seconds(20)));
    return &context;
  }
  static bool Try(const grpc::ClientContext&, const grpc::Status& status) {
    EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::UNAVAILABLE)
        << status.error_code() << " " << status.error_message();
    return status.ok();
  }
  v1::InstanceKey Key(const std::string& id) const {
    v1::InstanceKey key;
    key.set_service(service_);
    key.set_id(id);
    return key;
  }

  const std::string service_;
  std::mt19937_64 random_;
  std::map<std::string, Possible> possible_;
  uint32_t port_ = 0;
  uint64_t acknowledged_ = 0;
};

TEST(KillTest, NothingAcknowledgedIsLostAndNothingInvented) {
  const uint64_t seed = Setting("MUSTER_SEED", std::random_device()());
  const uint64_t rounds = Setting("MUSTER_KILLS", 200);
  std::cout << "MUSTER_SEED=" << seed << std::endl;
  std::mt19937_64 random(seed);
  const TempDir dir;
  // Small buffers: tables and new logs are written meanwhile.
  const std::vector<std::string> flags = {"--config", dir.path("small.yaml")};
  std::ofstream(dir.path("small.yaml")) << "rocksdb: {write_buffer_bytes: 1048576}\n";
  std::vector<Writer> writers;
  for (int i = 0; i < kWriters; ++i) writers.emplace_back(i, random());
  for (uint64_t round = 0; round <= rounds; ++round) {
    Musterd server(dir.path("data"), flags);
    Remote remote(server.address());
    for (Writer& writer : writers) ASSERT_EQ(writer.Check(remote), "") << "round " << round;
    if (round % 20 == 0) {
      grpc::ClientContext context;
      Remote::Prepare(context);
      v1::VerifyResponse verified;
      ASSERT_TRUE(remote.admin->Verify(&context, {}, &verified).ok());
      ASSERT_TRUE(verified.ok()) << verified.problems(0);
    }
    if (round == rounds) break;
    std::vector<std::thread> threads;
    for (Writer& writer : writers) {
      threads.emplace_back([&] { writer.Run(server.address()); });
    }
    Pause(absl::Microseconds(2'000 + random() % 80'000));
    server.Kill();
    for (auto& thread : threads) thread.join();
  }
  uint64_t acknowledged = 0;
  for (const Writer& writer : writers) acknowledged += writer.acknowledged();
  std::cout << rounds << " kills, " << acknowledged << " writes acknowledged" << std::endl;
  EXPECT_GT(acknowledged, rounds * 5);
}

}  // namespace
}  // namespace muster::test

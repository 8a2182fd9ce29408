// Choosing an endpoint by each policy: 1,000 endpoints, one or two threads, a list that changes 100
// times a second. The yardstick is an index of an array. And what it takes to resolve one of 1,000
// services that are followed already.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "muster/client/client.h"
#include "tests/bench/allocations.h"
#include "tests/bench/fixture.h"
#include "tests/bench/measure.h"
#include "tests/bench/workload.h"
#include "tests/support/process.h"

namespace muster::bench {
namespace {

using client::BalanceOptions;
using client::Balancer;
using client::Client;
using client::Connection;
using client::Endpoint;
using client::Policy;
using client::Resolution;

constexpr size_t kEndpoints = 1'000;
constexpr size_t kServices = 1'000;
constexpr absl::Duration kBetweenChanges = absl::Milliseconds(10);
// Picks are timed together: a clock costs as much as one of them.
constexpr int kTogether = 16;

using List = std::vector<std::shared_ptr<const Endpoint>>;

std::shared_ptr<const Endpoint> MakeEndpoint(size_t i, uint64_t revision) {
  return std::make_shared<const Endpoint>(
      Endpoint{.id = absl::StrCat("instance-", i),
               .address = {absl::StrCat("10.0.", i / 250, ".", i % 250 + 1), 8080},
               .zone = absl::StrCat("zone-", i % 3),
               .passing_weight = static_cast<uint32_t>(1 + i % 10 + revision % 2),
               .revision = revision});
}

// A registry of the bench's.
class Feeding : public Connection {
 public:
  explicit Feeding(size_t count) {
    for (size_t i = 0; i < count; ++i) list_.push_back(MakeEndpoint(i, 0));
  }
  absl::StatusOr<Resolution> Resolve(const client::Target&) override { return Now(); }
  absl::StatusOr<std::unique_ptr<Subscription>> Watch(const client::Target&,
                                                      Listener listener) override {
    listener_ = std::move(listener);
    return std::make_unique<Subscription>();
  }
  absl::StatusOr<std::unique_ptr<client::Registration>> Register(client::Instance,
                                                                 client::RegisterOptions) override {
    return absl::UnimplementedError("not here");
  }
  // One endpoint becomes another one.
  void Change() {
    ++revision_;
    list_[revision_ % list_.size()] = MakeEndpoint(revision_ % list_.size(), revision_);
    listener_(Now());
  }

 private:
  Resolution Now() const { return {.endpoints = std::make_shared<const List>(list_)}; }

  List list_;
  Listener listener_;
  uint64_t revision_ = 0;
};

struct Result {
  std::vector<double> nanoseconds;  // of one pick, on the mean of kTogether
  uint64_t allocations = 0;
};

// Until `stop`. Reserves what it notes before it begins.
template <typename Choose>
void PickUntil(const std::atomic<bool>& stop, const Choose& choose, Result* result) {
  using Clock = std::chrono::steady_clock;
  constexpr size_t kMost = 4'000'000;
  result->nanoseconds.reserve(kMost);
  for (int i = 0; i < 100; ++i) choose(static_cast<size_t>(i));
  const uint64_t before = AllocationsOfThread();
  size_t n = 0;
  while (!stop && result->nanoseconds.size() < kMost) {
    const auto begin = Clock::now();
    for (int i = 0; i < kTogether; ++i) choose(n++);
    const std::chrono::duration<double, std::nano> took = Clock::now() - begin;
    result->nanoseconds.push_back(took.count() / kTogether);
  }
  result->allocations = AllocationsOfThread() - before;
}

// `make`: what one thread chooses by. `change`: called 100 times a second; null: never.
template <typename Make>
Readings Run(int threads, absl::Duration duration, const Make& make,
             const std::function<void()>& change) {
  std::atomic<bool> stop{false};
  std::vector<Result> results(static_cast<size_t>(threads));
  std::vector<std::thread> running;
  for (Result& result : results) {
    running.emplace_back([&stop, &result, &make] { PickUntil(stop, make(), &result); });
  }
  int changes = 0;
  for (const absl::Time end = test::Now() + duration; test::Now() < end;) {
    test::Pause(kBetweenChanges);
    if (change == nullptr) continue;
    change();
    ++changes;
  }
  stop = true;
  for (std::thread& thread : running) thread.join();
  std::vector<double> all;
  uint64_t allocations = 0;
  for (const Result& result : results) {
    all.insert(all.end(), result.nanoseconds.begin(), result.nanoseconds.end());
    allocations += result.allocations;
  }
  if (all.empty()) return {};
  std::sort(all.begin(), all.end());
  return {{"p50_ns", all[all.size() / 2]},
          {"p99_ns", all[all.size() * 99 / 100]},
          {"allocations", static_cast<double>(allocations)},
          {"per_change", static_cast<double>(allocations) / std::max(changes, 1) / threads}};
}

volatile uint32_t sink;  // what is chosen has to be read

Readings PickArray(int threads, absl::Duration duration, size_t count) {
  List list;
  for (size_t i = 0; i < count; ++i) list.push_back(MakeEndpoint(i, 0));
  return Run(
      threads, duration,
      [&list] { return [&list](size_t n) { sink = list[n % list.size()]->address.port; }; },
      nullptr);
}

absl::StatusOr<Readings> PickBy(const BalanceOptions& options, int threads, absl::Duration duration,
                                size_t count, bool changes) {
  auto feeding = std::make_shared<Feeding>(count);
  const auto balancer = Client(feeding).Balance("api", options);
  if (!balancer.ok()) return balancer.status();
  const bool by_key = options.policy == Policy::kConsistentHash;
  const auto make = [&] {
    return [&balancer, by_key](size_t n) {
      char key[16];
      for (size_t i = 0; i < sizeof key; ++i) key[i] = static_cast<char>(n >> (i % 8 * 8));
      auto pick = by_key ? balancer->Next(std::string_view(key, sizeof key)) : balancer->Next();
      sink = pick->address.port;
      pick.Done();
    };
  };
  return Run(threads, duration, make,
             changes ? std::function<void()>([&] { feeding->Change(); }) : nullptr);
}

// 1,000 services of 10 endpoints each.
class Followed {
 public:
  static absl::StatusOr<std::shared_ptr<Followed>> Make(size_t services) {
    auto server = WithClient(StartMusterd());
    if (!server.ok()) return server.status();
    auto filled = Fill(*(*server)->client, 0, services * 10, services);
    if (!filled.ok()) return filled.status();
    auto client = Client::Create({.servers = {(*server)->process->address()}, .snapshot = false});
    if (!client.ok()) return client.status();
    std::vector<std::string> names;
    for (size_t i = 0; i < services; ++i) {
      names.push_back(ServiceName(i));
      const auto answer = client->Resolve(names.back());
      if (!answer.ok()) return answer.status();
      if (answer->endpoints->size() != 10) return absl::InternalError("not all are there");
    }
    return std::shared_ptr<Followed>(
        new Followed(*std::move(server), *std::move(client), std::move(names)));
  }

  Readings Resolve(int threads, absl::Duration duration) const {
    return Run(
        threads, duration,
        [this] {
          return [this](size_t n) {
            sink = client_.Resolve(names_[n * 7 % names_.size()])->endpoints->front()->address.port;
          };
        },
        nullptr);
  }

 private:
  Followed(std::shared_ptr<Server> server, Client client, std::vector<std::string> names)
      : server_(std::move(server)), client_(std::move(client)), names_(std::move(names)) {}

  const std::shared_ptr<Server> server_;
  const Client client_;
  const std::vector<std::string> names_;
};

absl::StatusOr<Plan> PlanPick(const Options& options) {
  const size_t count = options.Scaled(kEndpoints);
  const absl::Duration duration = options.round;
  const std::vector<std::pair<std::string, BalanceOptions>> policies = {
      {"round robin", {.policy = Policy::kRoundRobin}},
      {"weighted", {.policy = Policy::kWeighted}},
      {"least loaded", {.policy = Policy::kLeastLoaded}},
      {"consistent hash", {.policy = Policy::kConsistentHash}},
      {"zone first", {.policy = Policy::kWeighted, .zone = "zone-1"}},
      {"subset of 100", {.policy = Policy::kWeighted, .subset = 100}}};
  auto followed = Followed::Make(options.Scaled(kServices));
  if (!followed.ok()) return followed.status();
  Plan plan;
  for (const int threads : {1, 2}) {
    const std::string with = threads == 1 ? "" : ", 2 threads";
    plan.contestants.push_back({"array" + with, [=]() -> absl::StatusOr<Readings> {
                                  return PickArray(threads, duration, count);
                                }});
    plan.contestants.push_back(
        {"resolve" + with, [it = *followed, threads, duration]() -> absl::StatusOr<Readings> {
           return it->Resolve(threads, duration);
         }});
    plan.comparisons.push_back({.metric = absl::StrCat("p50 of Resolve, followed", with),
                                .unit = "ns",
                                .value = {"resolve" + with, "p50_ns"},
                                .goal = AtMost(1'000)});
    for (const auto& [name, policy] : policies) {
      plan.contestants.push_back(
          {name + with, [=] { return PickBy(policy, threads, duration, count, true); }});
      plan.comparisons.push_back({.metric = absl::StrCat("p50 of a pick, ", name, with),
                                  .unit = "ns",
                                  .value = {name + with, "p50_ns"},
                                  .goal = AtMost(200)});
      plan.comparisons.push_back({.metric = absl::StrCat("against the array, ", name, with),
                                  .unit = "ns",
                                  .value = {name + with, "p50_ns"},
                                  .yardstick = Source{"array" + with, "p50_ns"}});
    }
  }
  for (const auto& [name, policy] : policies) {
    plan.contestants.push_back(
        {name + ", unchanged", [=] { return PickBy(policy, 2, duration, count, false); }});
    plan.comparisons.push_back({.metric = absl::StrCat("allocations, ", name),
                                .unit = "",
                                .value = {name + ", unchanged", "allocations"},
                                .goal = AtMost(0),
                                .worst = true});
    plan.comparisons.push_back({.metric = absl::StrCat("allocations of a change, ", name),
                                .unit = "",
                                .value = {name + ", 2 threads", "per_change"}});
  }
  return plan;
}

const Registration registration(
    "pick", "an endpoint of 1,000 by each policy, 1 and 2 threads, 100 changes/s", &PlanPick);

}  // namespace
}  // namespace muster::bench

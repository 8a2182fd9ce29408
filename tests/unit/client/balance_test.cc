#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/fake_clock.h"
#include "base/rng.h"
#include "client/balance/balancer_core.h"
#include "client/balance/edf_queue.h"
#include "client/balance/maglev.h"
#include "client/balance/view.h"
#include "fake_scheduler.h"

namespace muster::client {
namespace {

using testing::FakeScheduler;

EndpointPtr One(const std::string& id, uint32_t weight = 1, const std::string& zone = "") {
  return std::make_shared<const Endpoint>(
      Endpoint{.id = id, .address = {"10.0.0.1", 80}, .zone = zone, .passing_weight = weight});
}

EndpointList Many(int count) {
  EndpointList list;
  for (int i = 0; i < count; ++i) list.push_back(One(absl::StrCat("i", i)));
  return list;
}

// Pearson's statistic of counts against what was expected.
double ChiSquare(const std::map<std::string, double>& counts,
                 const std::map<std::string, double>& expected) {
  double sum = 0;
  for (const auto& [id, wanted] : expected) {
    const auto found = counts.find(id);
    const double got = found == counts.end() ? 0 : found->second;
    sum += (got - wanted) * (got - wanted) / wanted;
  }
  return sum;
}
// What that stays below but once in a million times (Wilson and Hilferty's approximation).
double Bound(size_t degrees) {
  const auto n = static_cast<double>(degrees);
  const double part = 2 / (9 * n);
  return n * std::pow(1 - part + 4.75 * std::sqrt(part), 3);
}

class BalanceTest : public ::testing::Test {
 protected:
  std::shared_ptr<BalancerCore> Make(BalanceOptions options, const EndpointList& endpoints,
                                     uint64_t seed = 7) {
    auto core = std::make_shared<BalancerCore>(std::move(options), BalancerCore::Breaking{}, seed,
                                               clock_, scheduler_);
    Set(*core, endpoints);
    return core;
  }
  static void Set(BalancerCore& core, const EndpointList& endpoints,
                  Resolution::Empty empty = Resolution::Empty::kNoInstances) {
    core.Update({.endpoints = std::make_shared<const EndpointList>(endpoints), .empty = empty},
                "web");
  }
  static std::map<std::string, double> Count(BalancerCore& core, int picks) {
    std::map<std::string, double> counts;
    for (int i = 0; i < picks; ++i) {
      Pick pick = core.Next();
      if (!pick) return {};
      ++counts[pick->id];
      pick.Done();
    }
    return counts;
  }
  // Both clocks.
  void Pass(absl::Duration duration) {
    clock_.Advance(duration);
    scheduler_.Advance(duration);
  }

  base::FakeClock clock_;
  FakeScheduler scheduler_;
};

TEST_F(BalanceTest, WithoutEndpointsItSaysWhy) {
  const auto core = std::make_shared<BalancerCore>(BalanceOptions{}, BalancerCore::Breaking{}, 7,
                                                   clock_, scheduler_);
  EXPECT_FALSE(core->Next());
  EXPECT_EQ(core->status().message(), "nothing is known yet");
  Set(*core, {}, Resolution::Empty::kAllUnhealthy);
  EXPECT_FALSE(core->Next());
  EXPECT_EQ(core->status().message(), "no instance of \"web\" is healthy and active enough");
  Set(*core, {One("a", 0)});
  EXPECT_EQ(core->status().message(), "no endpoint takes calls");
  EXPECT_FALSE(core->Next("key"));
  Set(*core, {One("a")});
  EXPECT_TRUE(core->status().ok());
  EXPECT_EQ(core->Next()->id, "a");
  core->Fail(absl::UnavailableError("gone"));
  EXPECT_EQ(core->Next()->id, "a") << "what is known stays";
}

TEST_F(BalanceTest, RoundRobinTakesEachInTurn) {
  const auto core = Make({.policy = Policy::kRoundRobin}, {One("a", 9), One("b", 1), One("c", 3)});
  for (int round = 0; round < 10; ++round) {
    std::set<std::string> taken;
    for (int i = 0; i < 3; ++i) taken.insert(core->Next()->id);
    EXPECT_EQ(taken.size(), 3u);
  }
}

TEST_F(BalanceTest, WhoDrainsOrHasNoWeightIsNotChosen) {
  Endpoint drains = *One("drains");
  drains.state = Endpoint::State::kDraining;
  Endpoint sick = *One("sick");
  sick.health = Endpoint::Health::kCritical;
  for (const Policy policy :
       {Policy::kRoundRobin, Policy::kWeighted, Policy::kLeastLoaded, Policy::kConsistentHash}) {
    const auto core = Make({.policy = policy},
                           {One("a"), One("none", 0), std::make_shared<const Endpoint>(drains),
                            std::make_shared<const Endpoint>(sick)});
    EXPECT_EQ(Count(*core, 100), (std::map<std::string, double>{{"a", 100}}));
  }
}

TEST_F(BalanceTest, WeightsAreKeptExactlyAndEvenlyMixed) {
  EndpointList endpoints;
  std::map<std::string, double> expected;
  base::SeededRng rng(11);
  double total = 0;
  for (int i = 0; i < 1'000; ++i) {
    const auto weight = static_cast<uint32_t>(1 + rng.Uniform(1'000));
    endpoints.push_back(One(absl::StrCat("i", i), weight));
    total += weight;
  }
  constexpr int kPicks = 1'000'000;
  for (const EndpointPtr& one : endpoints) expected[one->id] = one->passing_weight * kPicks / total;
  const auto core = Make({}, endpoints);
  EXPECT_LT(ChiSquare(Count(*core, kPicks), expected), Bound(999));
  // Of two that have 1 and 3, never four of one kind follow each other.
  const auto two = Make({}, {One("a", 1), One("b", 3)});
  int in_a_row = 0;
  for (int i = 0; i < 1'000; ++i) {
    in_a_row = two->Next()->id == "b" ? in_a_row + 1 : 0;
    EXPECT_LE(in_a_row, 4);
  }
}

// A view that changes again and again begins at random places each time, and the shares hold all
// the same.
TEST_F(BalanceTest, WeightsAreKeptThroughManyChanges) {
  EndpointList endpoints = {One("a", 1), One("b", 2), One("c", 5), One("d", 12)};
  const auto core = Make({}, endpoints);
  std::map<std::string, double> counts;
  constexpr int kRounds = 20'000;
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < 3; ++i) ++counts[core->Next()->id];
    Set(*core, endpoints);
  }
  const double part = 3.0 * kRounds / 20;
  EXPECT_LT(ChiSquare(counts, {{"a", part}, {"b", 2 * part}, {"c", 5 * part}, {"d", 12 * part}}),
            Bound(3));
}

TEST(AliasTableTest, DrawsAreByWeight) {
  base::SeededRng rng(5);
  std::vector<double> weights;
  double total = 0;
  for (int i = 0; i < 200; ++i) total += weights.emplace_back(1 + rng.Unit() * 99);
  const AliasTable table(weights);
  constexpr int kDraws = 1'000'000;
  std::map<std::string, double> counts;
  std::map<std::string, double> expected;
  for (int i = 0; i < kDraws; ++i) ++counts[absl::StrCat(table.Draw(rng.Next()))];
  for (size_t i = 0; i < weights.size(); ++i) {
    expected[absl::StrCat(i)] = kDraws * weights[i] / total;
  }
  EXPECT_LT(ChiSquare(counts, expected), Bound(199));
  EXPECT_EQ(AliasTable({3}).Draw(rng.Next()), 0u);
}

TEST_F(BalanceTest, ASubsetIsByChanceAndStaysWhenOthersLeave) {
  const EndpointList endpoints = Many(50);
  std::map<std::string, double> members;
  std::map<std::string, double> expected;
  constexpr int kClients = 2'000;
  for (int client = 0; client < kClients; ++client) {
    const auto core = Make({.policy = Policy::kRoundRobin, .subset = 5}, endpoints,
                           base::SeededRng(static_cast<uint64_t>(client)).Next());
    const auto counts = Count(*core, 10);
    ASSERT_EQ(counts.size(), 5u);
    for (const auto& [id, count] : counts) ++members[id];
  }
  for (const EndpointPtr& one : endpoints) expected[one->id] = kClients * 5.0 / 50;
  EXPECT_LT(ChiSquare(members, expected), Bound(49));
  // One of the five leaves: the other four stay.
  const auto core = Make({.subset = 5}, endpoints);
  const auto before = Count(*core, 10);
  const std::string leaves = before.begin()->first;
  EndpointList fewer = endpoints;
  std::erase_if(fewer, [&](const EndpointPtr& one) { return one->id == leaves; });
  Set(*core, fewer);
  const auto after = Count(*core, 10);
  EXPECT_EQ(after.size(), 5u);
  int stayed = 0;
  for (const auto& [id, count] : after) stayed += before.contains(id) ? 1 : 0;
  EXPECT_EQ(stayed, 4);
}

TEST(MaglevTest, PartsAreByWeightAndFewKeysMoveWhenOneLeaves) {
  for (const int count : {2, 10, 100, 1'000}) {
    const auto members = [&](const std::string& without) {
      std::vector<Maglev::Member> out;
      for (const EndpointPtr& one : Many(count)) {
        if (one->id != without) out.push_back({one, nullptr, 1});
      }
      return out;
    };
    const Maglev all(members(""));
    const Maglev fewer(members("i1"));
    constexpr int kKeys = 100'000;
    int moved = 0;
    std::map<std::string, int> parts;
    for (int key = 0; key < kKeys; ++key) {
      const uint64_t hash = StableHash(absl::StrCat("key-", key));
      const std::string& before = all.Find(hash).endpoint->id;
      moved += before != fewer.Find(hash).endpoint->id ? 1 : 0;
      ++parts[before];
    }
    EXPECT_LE(moved, kKeys * (1.0 / count + 0.05)) << count;
    for (const auto& [id, part] : parts) EXPECT_LT(part, 1.5 * kKeys / count) << count;
  }
  // A weight that is very small takes no more time.
  std::vector<Maglev::Member> uneven = {{One("heavy"), nullptr, 65'535}};
  for (const EndpointPtr& one : Many(2'000)) uneven.push_back({one, nullptr, 1});
  const Maglev most(std::move(uneven));
  EXPECT_GT(most.size(), 100'000u);
  const Maglev weighted({{One("a"), nullptr, 1}, {One("b"), nullptr, 3}, {One("c"), nullptr, 6}});
  std::map<std::string, int> entries;
  for (uint64_t i = 0; i < weighted.size(); ++i) ++entries[weighted.Find(i).endpoint->id];
  const double size = weighted.size();
  EXPECT_NEAR(entries["a"] / size, 0.1, 0.001);
  EXPECT_NEAR(entries["b"] / size, 0.3, 0.001);
  EXPECT_NEAR(entries["c"] / size, 0.6, 0.001);
}

TEST_F(BalanceTest, AKeyHasOneEndpointInEveryProcess) {
  EndpointList endpoints = Many(20);
  const auto core = Make({.policy = Policy::kConsistentHash}, endpoints);
  std::reverse(endpoints.begin(), endpoints.end());
  const auto other = Make({.policy = Policy::kConsistentHash}, endpoints, 99);
  std::set<std::string> used;
  for (int i = 0; i < 1'000; ++i) {
    const std::string key = absl::StrCat("user-", i);
    EXPECT_EQ(core->Next(key)->id, other->Next(key)->id);
    used.insert(core->Next(key)->id);
  }
  EXPECT_EQ(used.size(), 20u);
  EXPECT_EQ(core->Next("user-7")->id, "i1") << "nor does another build change it";
  EXPECT_GT(Count(*core, 1'000).size(), 15u) << "without a key any of them";
}

TEST_F(BalanceTest, TablesAreMadeTenTimesASecondAndWhoHasGoneIsNotChosenMeanwhile) {
  EndpointList endpoints = Many(20);
  const auto core = Make({.policy = Policy::kConsistentHash}, endpoints);
  clock_.Advance(absl::Milliseconds(10));
  const std::string key = "user-7";
  const std::string former = core->Next(key)->id;
  std::erase_if(endpoints, [&](const EndpointPtr& one) { return one->id == former; });
  Set(*core, endpoints);
  EXPECT_NE(core->Next(key)->id, former);
  endpoints.push_back(One("new", 1'000));
  Set(*core, endpoints);
  EXPECT_FALSE(Count(*core, 1'000).contains("new"));
  Pass(absl::Milliseconds(101));
  EXPECT_GT(Count(*core, 1'000)["new"], 900);
}

TEST_F(BalanceTest, AZoneKeepsItsCallsAsLongAsItCanBearThem) {
  const auto share = [&](const std::string& zone, const EndpointList& endpoints) {
    const auto core = Make({.zone = zone}, endpoints);
    std::map<std::string, double> shares;
    constexpr int kPicks = 100'000;
    for (int i = 0; i < kPicks; ++i) shares[core->Next()->zone] += 1.0 / kPicks;
    return shares;
  };
  const auto zones = [](int a, int b, int c) {
    EndpointList endpoints;
    for (const auto& [zone, count] : {std::pair<std::string, int>{"a", a}, {"b", b}, {"c", c}}) {
      for (int i = 0; i < count; ++i) endpoints.push_back(One(absl::StrCat(zone, i), 1, zone));
    }
    return endpoints;
  };
  EXPECT_NEAR(share("a", zones(5, 5, 5))["a"], 1, 1e-6);
  EXPECT_NEAR(share("a", zones(9, 3, 3))["a"], 1, 1e-6);
  // 15 in all, so that 5 are a zone's part: 2 of 5 stay, the rest goes where more than 5 are.
  auto shares = share("a", zones(2, 5, 8));
  EXPECT_NEAR(shares["a"], 0.4, 0.01);
  EXPECT_NEAR(shares["b"], 0, 1e-6);
  EXPECT_NEAR(shares["c"], 0.6, 0.01);
  // Drill: a zone dies. With what the callers of all zones send, nobody has more than its share.
  std::map<std::string, double> load;
  for (const std::string caller : {"a", "b", "c"}) {
    const auto core = Make({.zone = caller}, zones(5, 4, 6));
    Set(*core, zones(0, 4, 6));
    constexpr int kPicks = 100'000;
    for (int i = 0; i < kPicks; ++i) load[core->Next()->zone] += 1.0 / kPicks / 3;
  }
  EXPECT_NEAR(load["b"], 0.4, 0.001);
  EXPECT_NEAR(load["c"], 0.6, 0.001);
  EXPECT_NEAR(share("elsewhere", zones(5, 5, 0))["a"], 0.5, 0.01);
}

TEST_F(BalanceTest, OneThatAppearsGetsMoreAndMore) {
  const auto core = Make({.slow_start = absl::Seconds(10)}, {One("a")});
  EXPECT_EQ(Count(*core, 100)["a"], 100) << "those of the beginning start at once";
  Set(*core, {One("a"), One("b")});
  double before = 0;
  for (int i = 0; i < 10; ++i) {
    const double share = Count(*core, 10'000)["b"] / 10'000;
    EXPECT_GT(share, before - 0.005);
    if (i == 0) {
      EXPECT_NEAR(share, 0.1 / 1.1, 0.01);
    }
    if (i == 5) {
      EXPECT_NEAR(share, 0.5 / 1.5, 0.02);
    }
    before = share;
    Pass(absl::Seconds(1));
  }
  Pass(absl::Seconds(2));
  EXPECT_NEAR(Count(*core, 10'000)["b"], 5'000, 10);
  EXPECT_EQ(scheduler_.timers(), 0u) << "nothing is left to be done";
  const auto hashed = Make({.policy = Policy::kConsistentHash, .slow_start = absl::Seconds(10)},
                           {One("a"), One("b")});
  EXPECT_EQ(scheduler_.timers(), 0u);
}

TEST_F(BalanceTest, WhoIsSlowOrBusyGetsLess) {
  const auto core =
      Make({.policy = Policy::kLeastLoaded}, {One("busy"), One("idle"), One("other")});
  // Calls that don't end: the others get the rest.
  std::vector<Pick> open;
  std::map<std::string, int> counts;
  for (int i = 0; i < 3'000; ++i) {
    clock_.Advance(absl::Milliseconds(1));
    Pick pick = core->Next();
    ++counts[pick->id];
    if (pick->id == "busy") {
      open.push_back(std::move(pick));
    } else {
      pick.Done();
    }
  }
  EXPECT_LT(counts["busy"], 100);
  EXPECT_GT(counts["idle"], 1'000);
  open.clear();
  counts.clear();
  for (int i = 0; i < 300; ++i) {
    Pick pick = core->Next();
    ++counts[pick->id];
    Pick moved = std::move(pick);
    EXPECT_FALSE(pick);
    moved = core->Next();
  }
  EXPECT_GT(counts["busy"], 10) << "picks that are dropped are under way no more";
}

// One answer that took three seconds isn't held against an endpoint for more than a minute.
TEST_F(BalanceTest, ASlowAnswerIsForgotten) {
  const auto core = Make({.policy = Policy::kLeastLoaded}, {One("slow"), One("fast")});
  bool was_slow = false;
  while (!was_slow) {
    Pick pick = core->Next();
    was_slow = pick->id == "slow";
    clock_.Advance(was_slow ? absl::Seconds(3) : absl::Milliseconds(1));
    pick.Done();
  }
  const auto share = [&] {
    int slow = 0;
    for (int i = 0; i < 200; ++i) {
      Pick pick = core->Next();
      slow += pick->id == "slow" ? 1 : 0;
      clock_.Advance(absl::Milliseconds(1));
      pick.Done();
    }
    return slow;
  };
  EXPECT_EQ(share(), 0);
  clock_.Advance(absl::Minutes(1));
  EXPECT_GT(share(), 20);
}

TEST_F(BalanceTest, APickOutlivesItsBalancer) {
  for (const Policy policy : {Policy::kWeighted, Policy::kLeastLoaded, Policy::kConsistentHash}) {
    auto core = Make({.policy = policy}, Many(3));
    Pick pick = core->Next();
    Set(*core, {});
    core = nullptr;
    EXPECT_FALSE(pick->id.empty());
    pick.Done();
  }
}

TEST_F(BalanceTest, ThreadsChooseWhileTheEndpointsChange) {
  for (const Policy policy :
       {Policy::kRoundRobin, Policy::kWeighted, Policy::kLeastLoaded, Policy::kConsistentHash}) {
    const auto core = Make({.policy = policy}, Many(10));
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    std::atomic<int> picks{0};
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        while (!stop) {
          Pick pick = core->Next();
          EXPECT_TRUE(pick);
          EXPECT_EQ(pick->address.port, 80);
          pick.Done();
          ++picks;
        }
      });
    }
    while (picks < 100) std::this_thread::yield();
    for (int i = 0; i < 300; ++i) Set(*core, Many(5 + i % 10));
    stop = true;
    for (std::thread& thread : threads) thread.join();
  }
}

}  // namespace
}  // namespace muster::client

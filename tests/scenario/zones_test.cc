// Drill: a zone dies, and its callers live on. Real services in three zones, called from each.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "muster/client/client.h"
#include "tests/scenario/calling.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

using client::Client;

// Instances of weight 1. Zone a bears all that its callers send: they know nobody else until it
// dies. Then b has 0.4 of the capacity that is left, and c 0.6.
const std::map<std::string, int> kZones = {{"a", 3}, {"b", 2}, {"c", 3}};
constexpr char kDies[] = "a";
constexpr int kCallsPerSecond = 600;  // from each zone

// By instance, how many calls it answered. The first letter of its id is its zone.
using Answers = std::map<std::string, int>;

std::string ZoneOf(const std::string& id) { return id.substr(0, 1); }

// "" = all zones.
int CallsTo(const std::string& zone, const Answers& answers) {
  int calls = 0;
  for (const auto& [id, count] : answers) {
    if (zone.empty() || ZoneOf(id) == zone) calls += count;
  }
  return calls;
}

double Part(int calls, int of) { return static_cast<double>(calls) / of; }

// By how much the part of so many calls may differ from `share`: four standard deviations of calls
// that are dealt by chance, which is less than once in 10,000 times. Calls that take turns differ
// less.
double Tolerance(double share, int calls) { return 4 * std::sqrt(share * (1 - share) / calls); }

class ZonesScenario : public ::testing::Test {
 protected:
  struct Callers {
    Client client;
    std::unique_ptr<Calling> calling;
  };
  using ByCaller = std::map<std::string, Answers>;

  void SetUp() override {
    for (const auto& [zone, instances] : kZones) {
      for (int i = 0; i < instances; ++i) StartService(zone, absl::StrCat(zone, i));
    }
    for (const auto& [zone, instances] : kZones) StartCallers(zone);
  }
  void StartService(const std::string& zone, const std::string& id) {
    auto& process = services_[id];
    process = std::make_unique<Process>(std::vector<std::string>{
        BinDir() + "/../tests/bin/echo_process", server_.address(), "web", id, zone});
    ASSERT_TRUE(process->ReadLine().has_value());
    ASSERT_EQ(process->ReadLine(), "held");
  }
  void StartCallers(const std::string& zone) {
    const auto client = Client::Create({.servers = {server_.address()}, .snapshot = false});
    ASSERT_TRUE(client.ok()) << client.status();
    const auto caller = client->CallerOf("web", {.balance = {.zone = zone}});
    ASSERT_TRUE(caller.ok()) << caller.status();
    callers_.emplace(zone, Callers{*client, std::make_unique<Calling>(*caller, kCallsPerSecond)});
  }

  void Kill(const std::string& zone) const {
    for (const auto& [id, process] : services_) {
      if (ZoneOf(id) == zone) process->Signal(SIGKILL);
    }
  }
  // By all clients.
  bool IsForgotten(const std::string& zone) const {
    return std::all_of(callers_.begin(), callers_.end(), [&](const auto& one) {
      const auto answer = one.second.client.Resolve("web");
      return answer.ok() && std::none_of(answer->endpoints->begin(), answer->endpoints->end(),
                                         [&](const auto& it) { return it->zone == zone; });
    });
  }
  // Attempts there that failed so far, or are under way.
  int Unanswered(const std::string& zone) const {
    int unanswered = 0;
    for (const auto& [from, callers] : callers_) {
      for (const auto& [id, process] : services_) {
        if (ZoneOf(id) != zone) continue;
        unanswered += callers.calling->attempts(id) - callers.calling->answers(id);
      }
    }
    return unanswered;
  }
  // From now on, for so long.
  ByCaller CountFor(absl::Duration duration) const {
    ByCaller counted;
    for (const auto& [zone, callers] : callers_) counted[zone] = callers.calling->answers();
    Pause(duration);
    for (const auto& [zone, callers] : callers_) {
      for (const auto& [id, count] : callers.calling->answers()) {
        counted[zone][id] = count - counted[zone][id];
      }
    }
    return counted;
  }
  void ExpectNoneFailed() const {
    for (const auto& [zone, callers] : callers_) {
      const auto failed = callers.calling->failed();
      EXPECT_TRUE(failed.empty()) << failed.size() << " of " << callers.calling->calls()
                                  << " calls from " << zone << ", the first: " << failed.front()
                                  << ", the last: " << failed.back();
    }
  }

  const TempDir dir_;
  Musterd server_{dir_.path("data"), WithoutBrake(dir_)};
  std::map<std::string, std::unique_ptr<Process>> services_;
  std::map<std::string, Callers> callers_;
};

int Capacity(const std::string& without = "") {
  int instances = 0;
  for (const auto& [zone, count] : kZones) instances += zone == without ? 0 : count;
  return instances;
}

// While all zones are well: a caller calls its own one, as long as that bears a third of the calls.
void ExpectZonesKeepTheirCalls(const std::map<std::string, Answers>& by_caller) {
  for (const auto& [zone, answers] : by_caller) {
    const int calls = CallsTo("", answers);
    const double part = Part(CallsTo(zone, answers), calls);
    const double bears =
        std::min(1.0, static_cast<double>(kZones.at(zone) * kZones.size()) / Capacity());
    std::cout << absl::StreamFormat("all well, from %s: %d calls, %.4f stay, it bears %.4f\n", zone,
                                    calls, part, bears);
    EXPECT_NEAR(part, bears, Tolerance(bears, calls)) << zone;
  }
}

// By how much the callers of a zone call more, or less, than a third: they are on one machine, and
// their threads don't get its processors at the same moments.
double Unevenness(const std::map<std::string, Answers>& by_caller, int all) {
  double most = 0;
  for (const auto& [zone, answers] : by_caller) {
    const double part = Part(CallsTo("", answers), all);
    most = std::max(most, std::abs(part - 1.0 / static_cast<double>(by_caller.size())));
  }
  return most;
}

// Afterwards: no zone has more of the calls than of the capacity, nor an instance more than others.
void ExpectSurvivorsShare(const std::map<std::string, Answers>& by_caller) {
  Answers total;
  for (const auto& [zone, answers] : by_caller) {
    for (const auto& [id, count] : answers) total[id] += count;
  }
  const int all = CallsTo("", total);
  const double uneven = Unevenness(by_caller, all);
  EXPECT_LT(uneven, 0.02) << "the callers of a zone didn't get to call";
  for (const auto& [zone, instances] : kZones) {
    if (zone == kDies) continue;
    const int calls = CallsTo(zone, total);
    const double share = Part(instances, Capacity(kDies));
    const double most = share + Tolerance(share, all) + uneven;
    std::cout << absl::StreamFormat(
        "%s is dead, %s: %d of %d calls, %.4f; its share of the capacity is %.4f, at most %.4f\n",
        kDies, zone, calls, all, Part(calls, all), share, most);
    EXPECT_LE(Part(calls, all), most) << zone;
    for (int i = 0; i < instances; ++i) {
      const std::string id = absl::StrCat(zone, i);
      const double even = 1.0 / instances;
      EXPECT_NEAR(Part(total[id], calls), even, Tolerance(even, calls)) << id;
    }
  }
}

TEST_F(ZonesScenario, NobodyGetsMoreThanItsShareWhenAZoneDies) {
  Pause(absl::Milliseconds(500));
  ExpectZonesKeepTheirCalls(CountFor(absl::Seconds(2)));
  Kill(kDies);
  const absl::Time died = Now();
  EXPECT_TRUE(Eventually([&] { return IsForgotten(kDies); }));
  const absl::Duration took = Now() - died;
  // What a client knows comes to its balancers on another thread.
  Pause(absl::Milliseconds(300));
  const int unanswered = Unanswered(kDies);
  std::cout << absl::StreamFormat("all callers know it after %s; %d attempts went there\n",
                                  absl::FormatDuration(took), unanswered);
  ExpectSurvivorsShare(CountFor(absl::Seconds(3)));
  EXPECT_EQ(Unanswered(kDies), unanswered) << "nobody calls the dead";
  ExpectNoneFailed();
}

}  // namespace
}  // namespace muster::test

// The main job on real processes: services register, find each other, die and are missed; the
// server dies and nobody notices but by a pause.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

constexpr int kServices = 5;
constexpr int kCopies = 10;
constexpr absl::Duration kTtl = absl::Seconds(3);

std::string ServiceName(int service) { return absl::StrCat("svc-", service); }
std::string Id(int service, int copy) { return absl::StrCat("s", service, "-", copy); }

class MainJob : public testing::Test {
 protected:
  void StartServices() {
    for (int copy = 0; copy < kCopies; ++copy) {
      for (int service = 0; service < kServices; ++service) {
        std::vector<std::string> argv = {BinDir() + "/../tests/bin/service_process",
                                         server_->address(), ServiceName(service),
                                         Id(service, copy), "3"};
        for (int peer = 0; peer < kServices; ++peer) argv.push_back(ServiceName(peer));
        services_[Id(service, copy)] = std::make_unique<Process>(argv);
      }
    }
    for (auto& [id, process] : services_) {
      const auto registered = process->ReadLine(absl::Seconds(60));
      ASSERT_TRUE(registered && registered->rfind("registered ", 0) == 0) << id;
      incarnations_[id] = registered->substr(11);
      ASSERT_EQ(process->ReadLine(absl::Seconds(60)), "found") << id;
    }
  }

  std::set<std::string> Alive(int service) {
    std::set<std::string> out;
    for (int copy = 0; copy < kCopies; ++copy) {
      if (services_[Id(service, copy)]->Running()) out.insert(Id(service, copy));
    }
    return out;
  }

  // The watchers hold what a fresh answer holds, and that is what is alive.
  void ExpectEqualToFresh() {
    Remote remote(server_->address());
    for (int service = 0; service < kServices; ++service) {
      const auto alive = Alive(service);
      EXPECT_TRUE(Eventually([&] {
        const auto ids = watchers_[service]->ids();
        return std::set<std::string>(ids.begin(), ids.end()) == alive &&
               watchers_[service]->checksum() == remote.Discover(ServiceName(service)).checksum();
      })) << ServiceName(service);
      EXPECT_EQ(watchers_[service]->seen().problem, "");
    }
  }

  TempDir dir_;
  std::unique_ptr<Musterd> server_ = std::make_unique<Musterd>(dir_.path("data"));
  std::map<std::string, std::unique_ptr<Process>> services_;
  std::map<std::string, std::string> incarnations_;
  std::vector<std::unique_ptr<Watcher>> watchers_;
};

TEST_F(MainJob, FiftyProcessesSurviveDeathsAndARestart) {
  ASSERT_NO_FATAL_FAILURE(StartServices());
  for (int service = 0; service < kServices; ++service) {
    watchers_.push_back(std::make_unique<Watcher>(server_->address(), ServiceName(service)));
  }
  ExpectEqualToFresh();

  // Two of each die: exactly those leave, within TTL + 1 s.
  std::map<std::string, absl::Time> killed;
  for (int service = 0; service < kServices; ++service) {
    for (int copy = 0; copy < 2; ++copy) {
      services_[Id(service, copy)]->Kill();
      killed[Id(service, copy)] = Now();
    }
  }
  ASSERT_TRUE(Eventually(
      [&] {
        size_t gone = 0;
        for (const auto& watcher : watchers_) gone += watcher->gone().size();
        return gone == killed.size();
      },
      kTtl + absl::Seconds(3)));
  ExpectEqualToFresh();
  absl::Duration slowest;
  for (const auto& watcher : watchers_) {
    for (const auto& [id, when] : watcher->gone()) {
      ASSERT_TRUE(killed.contains(id)) << id << " was alive";
      slowest = std::max(slowest, when - killed[id]);
    }
  }
  EXPECT_LE(slowest, kTtl + absl::Seconds(1));
  RecordProperty("slowest_leave_ms", static_cast<int>(absl::ToInt64Milliseconds(slowest)));

  // While the server is gone for longer than a TTL, nothing is lost.
  std::vector<Watcher::Seen> before;
  std::vector<v1::DiscoverResponse> sets;
  for (int service = 0; service < kServices; ++service) {
    before.push_back(watchers_[service]->seen());
    sets.push_back(Remote(server_->address()).Discover(ServiceName(service)));
  }
  const int port = server_->port();
  server_->Kill();
  Pause(kTtl + absl::Seconds(1));
  server_ = std::make_unique<Musterd>(dir_.path("data"), std::vector<std::string>{}, port);
  ExpectEqualToFresh();
  for (int service = 0; service < kServices; ++service) {
    const auto fresh = Remote(server_->address()).Discover(ServiceName(service));
    EXPECT_EQ(fresh.checksum(), sets[service].checksum()) << "nothing acknowledged is missing";
    EXPECT_EQ(fresh.service_revision().epoch(), sets[service].service_revision().epoch());
  }

  // A change each while the watchers are on their new streams: their bytes are those of changes.
  for (int service = 0; service < kServices; ++service) services_[Id(service, 2)]->Kill();
  ASSERT_TRUE(Eventually([&] {
    for (int service = 0; service < kServices; ++service) {
      if (!watchers_[service]->gone().contains(Id(service, 2))) return false;
    }
    return true;
  }));
  // Nobody alive expires, also after a whole TTL more.
  Pause(kTtl * 2);
  ExpectEqualToFresh();
  for (auto& [id, process] : services_) {
    if (process->Running()) {
      EXPECT_EQ(process->ReadLine(absl::ZeroDuration()), std::nullopt) << id;
    }
  }
  for (int service = 0; service < kServices; ++service) {
    const Watcher::Seen seen = watchers_[service]->seen();
    EXPECT_EQ(seen.snapshots, 1) << "the first one only";
    EXPECT_EQ(seen.resets, 0);
    EXPECT_GE(seen.streams, 2);
    // One change names one key: id, seqs, checksum. The resume that found nothing new counts too.
    const uint64_t bytes = seen.change_bytes - before[service].change_bytes;
    const uint64_t of_the_change = Id(service, 2).size() + 64;
    EXPECT_LE(bytes, 2 * of_the_change);
    RecordProperty(absl::StrCat("resume_bytes_", service), static_cast<int>(bytes));
  }
  EXPECT_EQ(server_->Stop(), 0);
}

}  // namespace
}  // namespace muster::test

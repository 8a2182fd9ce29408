// Services that fall silent all at once are held and marked, and leave slowly; single ones leave as
// fast as ever, whatever happens in another zone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr absl::Duration kTtl = absl::Seconds(3);
constexpr absl::Duration kHold = absl::Seconds(6);
constexpr absl::Duration kInterval = absl::Seconds(1);
constexpr char kConfig[] = "brake: {hold: 6s, release_interval: 1s}\n";
constexpr int kReleases = 7;  // of 15 %
// Until a removal is seen: what a lease may take beyond its TTL.
constexpr absl::Duration kSeen = absl::Seconds(1);

// Leased instances, and a thread that sends the heartbeats of those that live.
class Fleet {
 public:
  explicit Fleet(const std::string& address) : remote_(address) {}
  ~Fleet() {
    stopped_ = true;
    if (thread_.joinable()) thread_.join();
  }

  void Add(const std::string& service, int first, int last, const std::string& zone) {
    v1::BatchRegisterRequest request;
    for (int i = first; i <= last; ++i) {
      v1::RegisterRequest& one = *request.add_requests();
      one.mutable_instance()->set_service(service);
      one.mutable_instance()->set_id(absl::StrCat(zone, "-", i));
      one.mutable_instance()->set_address("10.0.0.1");
      one.mutable_instance()->mutable_locality()->set_zone(zone);
      one.mutable_ttl()->set_seconds(absl::ToInt64Seconds(kTtl));
    }
    v1::BatchRegisterResponse response;
    grpc::ClientContext context;
    Remote::Prepare(context);
    const grpc::Status status = remote_.registry->BatchRegister(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    for (int i = 0; i < response.results_size(); ++i) {
      ASSERT_TRUE(response.results(i).has_response());
      const std::string id = request.requests(i).instance().id();
      handles_[absl::StrCat(service, "/", id)] = response.results(i).response().lease_handle();
    }
  }
  // The fleet is complete.
  void Start() {
    thread_ = std::thread([this] { Run(); });
  }
  // From now on only those whose name, "service/zone-number", is taken. Returns once all others
  // were heard for the last time; that was before.
  void Silence(std::function<bool(const std::string& name)> lives) {
    base::MutexLock lock(mu_);
    lives_ = std::move(lives);
  }
  // Heartbeats that were answered with other than RENEWED.
  int lost() const { return lost_; }

 private:
  void Run() {
    while (!stopped_) {
      Beat();
      const absl::Time next = Now() + kTtl / 3;
      while (!stopped_ && Now() < next) Pause(absl::Milliseconds(10));
    }
  }
  void Beat() {
    base::MutexLock lock(mu_);
    v1::HeartbeatRequest request;
    for (const auto& [name, handle] : handles_) {
      if (lives_(name)) request.add_lease_handles(handle);
    }
    v1::HeartbeatResponse response;
    if (!remote_.Heartbeat(request, &response).ok()) ++lost_;
    for (const int outcome : response.outcomes()) {
      if (outcome != v1::HeartbeatResponse::RENEWED) ++lost_;
    }
  }

  Remote remote_;
  std::map<std::string, uint64_t> handles_;  // constant after Start
  base::Mutex mu_;
  std::function<bool(const std::string&)> lives_ MUSTER_GUARDED_BY(mu_) = [](const auto&) {
    return true;
  };
  std::atomic<int> lost_{0};
  std::atomic<bool> stopped_{false};
  std::thread thread_;
};

bool Everybody(const std::string&) { return true; }
bool Nobody(const std::string&) { return false; }

class Brake : public testing::Test {
 protected:
  static constexpr int kServices = 20, kEach = 50, kPairs = 20;
  static constexpr uint64_t kAll = kServices * kEach + kPairs * 2;

  Brake() {
    server_ = std::make_unique<Musterd>(dir_.path("data"), WithConfig(dir_, kConfig));
    remote_ = std::make_unique<Remote>(server_->address());
    fleet_ = std::make_unique<Fleet>(server_->address());
  }

  // Services of fifty in two zones, and services of two, half of them in each zone.
  void StartLargeFleet() {
    for (int i = 0; i < kServices; ++i) {
      fleet_->Add(absl::StrCat("s", i), 1, kEach / 2, "z1");
      fleet_->Add(absl::StrCat("s", i), 1, kEach / 2, "z2");
    }
    for (int i = 0; i < kPairs; ++i) {
      fleet_->Add(absl::StrCat("pair", i), 1, 2, i % 2 == 0 ? "z1" : "z2");
    }
    fleet_->Start();
    web_ = Watch("s0");
    pair_ = Watch("pair0");
    ASSERT_TRUE(Eventually([&] { return web_->ids().size() == 50 && pair_->ids().size() == 2; }));
    ASSERT_EQ(Instances(), kAll);
  }
  std::unique_ptr<Watcher> Watch(const std::string& service) {
    return std::make_unique<Watcher>(server_->address(), service);
  }
  uint64_t Instances() { return remote_->Status().instances(); }
  // When all of them left; none of the others did.
  absl::Time GoneAt(const Watcher& watcher, const std::vector<std::string>& ids) {
    EXPECT_TRUE(Eventually([&] { return watcher.gone().size() >= ids.size(); }));
    absl::Time last = absl::InfinitePast();
    const auto gone = watcher.gone();
    EXPECT_THAT(gone, SizeIs(ids.size()));
    for (const std::string& id : ids) {
      EXPECT_TRUE(gone.contains(id)) << id;
      if (gone.contains(id)) last = std::max(last, gone.at(id));
    }
    return last;
  }
  // All of the brake's, or none: of the brake's reason.
  void ExpectMarked(const std::string& service, size_t count) {
    const auto answer = remote_->Discover(service);
    size_t marked = 0;
    for (const auto& held : answer.held()) {
      EXPECT_THAT(held.reasons(), testing::ElementsAre(v1::Held::BRAKE));
      marked += static_cast<size_t>(held.keys_size());
    }
    EXPECT_EQ(marked, count) << service;
  }

  TempDir dir_;
  std::unique_ptr<Musterd> server_;
  std::unique_ptr<Remote> remote_;
  std::unique_ptr<Fleet> fleet_;
  std::unique_ptr<Watcher> web_, pair_;
};

TEST_F(Brake, WhoIsCutOffForLessThanTheHoldStaysAndIsMarked) {
  ASSERT_NO_FATAL_FAILURE(StartLargeFleet());
  const auto before = remote_->Discover("s0");
  fleet_->Silence(Nobody);
  const absl::Time silent = Now();
  ASSERT_TRUE(Eventually([&] { return web_->held().size() == 50 && pair_->held().size() == 2; },
                         kTtl + kSeen));
  EXPECT_GE(Now() - silent, kTtl / 2);
  ExpectMarked("s0", 50);
  ExpectMarked("pair0", 2);
  const auto status = remote_->Status();
  EXPECT_THAT(status.warnings(),
              Contains(AllOf(HasSubstr("the brake holds 1040 overdue leases of 42 groups since 2"),
                             HasSubstr("; see docs/lifetime.md"))));
  Pause(kHold - absl::Seconds(2));
  EXPECT_EQ(Instances(), kAll);
  fleet_->Silence(Everybody);
  ASSERT_TRUE(Eventually([&] { return web_->held().empty() && pair_->held().empty(); }, kTtl));
  ASSERT_TRUE(Eventually([&] { return remote_->Status().warnings().empty(); }, kTtl));
  const auto after = remote_->Discover("s0");
  EXPECT_THAT(after.held(), IsEmpty());
  EXPECT_EQ(after.checksum(), before.checksum());
  EXPECT_EQ(after.revision().seq(), before.revision().seq()) << "nothing was written";
  EXPECT_THAT(web_->gone(), IsEmpty());
  EXPECT_EQ(web_->seen().changes, 0);
  EXPECT_EQ(web_->seen().problem, "");
  EXPECT_EQ(fleet_->lost(), 0);
}

TEST_F(Brake, WhoIsCutOffForLongerLeavesAtTheDeclaredPace) {
  ASSERT_NO_FATAL_FAILURE(StartLargeFleet());
  fleet_->Silence(Nobody);
  ASSERT_TRUE(Eventually([&] { return !web_->held().empty(); }, kTtl + kSeen));
  const absl::Time held = Now();
  ASSERT_TRUE(Eventually([&] { return Instances() < kAll; }, kHold + kSeen));
  const absl::Time first = Now();
  EXPECT_GE(first - held, kHold - absl::Milliseconds(400));
  // Of each 25, four at a time; of the 20 that stand in services of two, three.
  constexpr uint64_t kStep = 2 * kServices * 4 + 2 * 3;
  for (int release = 1; release < kReleases; ++release) {
    const uint64_t left = kAll - static_cast<uint64_t>(release) * kStep;
    Pause(first + kInterval * (release - 0.5) - Now());
    EXPECT_EQ(Instances(), left) << "after release " << release;
  }
  ASSERT_TRUE(Eventually([&] { return Instances() == 0; }, kInterval + kSeen));
  const absl::Duration took = Now() - first;
  const double pace = absl::FDivDuration(took, kInterval * (kReleases - 1));
  std::cout << "the last left " << took << " after the first: " << pace << " of the declared time"
            << std::endl;
  EXPECT_GT(pace, 0.9);
  EXPECT_LT(pace, 1.15);
  ASSERT_TRUE(Eventually([&] { return web_->gone().size() == 50 && web_->held().empty(); }, kSeen));
  EXPECT_TRUE(Eventually(
      [&] {
        const auto status = remote_->Status();
        return status.held().empty() && status.warnings().empty();
      },
      kSeen))
      << "the hold ended by itself";
  EXPECT_EQ(web_->seen().problem, "");
}

TEST_F(Brake, OneZoneThatIsCutOffHoldsBackNobodyInAnother) {
  ASSERT_NO_FATAL_FAILURE(StartLargeFleet());
  const auto other = Watch("pair1");
  ASSERT_TRUE(Eventually([&] { return other->ids().size() == 2; }));
  fleet_->Silence([](const std::string& name) {
    return absl::StrContains(name, "/z2-") && name != "s0/z2-1" && name != "s0/z2-2" &&
           name != "pair1/z2-1";
  });
  const absl::Time silent = Now();
  EXPECT_LE(GoneAt(*web_, {"z2-1", "z2-2"}) - silent, kTtl + kSeen);
  EXPECT_LE(GoneAt(*other, {"z2-1"}) - silent, kTtl + kSeen);
  ASSERT_TRUE(Eventually([&] { return web_->held().size() == 25; }, kSeen));
  EXPECT_THAT(web_->held(), Not(Contains(HasSubstr("z2-"))));
  EXPECT_THAT(other->held(), IsEmpty());
  // Told by an event of its own.
  EXPECT_TRUE(Eventually([&] { return pair_->held().size() == 2; }, kSeen));
  EXPECT_EQ(fleet_->lost(), 0);
  EXPECT_EQ(Instances(), kAll - 3);
}

TEST_F(Brake, TenOfFiftyThatDieAreGoneAsSoonAsEver) {
  ASSERT_NO_FATAL_FAILURE(StartLargeFleet());
  std::vector<std::string> dead;
  for (int i = 1; i <= 5; ++i) {
    dead.push_back(absl::StrCat("z1-", i));
    dead.push_back(absl::StrCat("z2-", i));
  }
  fleet_->Silence([dead](const std::string& name) {
    return !absl::StartsWith(name, "s0/") ||
           std::find(dead.begin(), dead.end(), name.substr(3)) == dead.end();
  });
  const absl::Time silent = Now();
  EXPECT_LE(GoneAt(*web_, dead) - silent, kTtl + kSeen);
  EXPECT_THAT(remote_->Status().held(), IsEmpty());
  EXPECT_EQ(fleet_->lost(), 0);
}

TEST_F(Brake, TwoOfThreeThatDieAreGoneAsSoonAsEverWhileTheirZoneLives) {
  fleet_->Add("three", 1, 3, "z1");
  fleet_->Add("others", 1, 20, "z1");
  fleet_->Start();
  const auto watcher = Watch("three");
  ASSERT_TRUE(Eventually([&] { return watcher->ids().size() == 3; }));
  fleet_->Silence([](const std::string& name) {
    return absl::StartsWith(name, "others/") || name == "three/z1-3";
  });
  const absl::Time silent = Now();
  EXPECT_LE(GoneAt(*watcher, {"z1-1", "z1-2"}) - silent, kTtl + kSeen);
  EXPECT_THAT(watcher->held(), IsEmpty());
  EXPECT_EQ(fleet_->lost(), 0);
}

}  // namespace
}  // namespace muster::test

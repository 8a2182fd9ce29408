// The brake in the whole core: who is held, marked, and let go when.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/errors.h"
#include "base/log.h"
#include "tests/support/core_stack.h"

namespace muster::core {
namespace {

using R = v1::HeartbeatResponse;

constexpr absl::Duration kTtl = absl::Seconds(3);
constexpr absl::Duration kHold = absl::Seconds(12);
constexpr absl::Duration kInterval = absl::Seconds(2);

absl::Status DiskFull() {
  return base::MakeError(absl::StatusCode::kUnavailable, base::Reason::kStorageFull,
                         "no space left");
}

RegistryOptions WithBrake() {
  RegistryOptions options;
  options.brake = {.share = 0.3, .hold = kHold, .release_interval = kInterval};
  return options;
}

class RegistryBrakeTest : public testing::Test {
 protected:
  RegistryBrakeTest() {
    base::SetLogSink([](auto, auto, auto) {});
    Start(WithBrake());
  }
  ~RegistryBrakeTest() override { base::SetLogSink(nullptr); }

  void Start(const RegistryOptions& options) {
    core_.reset();
    core_ = std::make_unique<CoreStack>(clock_, store_, options);
  }
  void SetShare(const std::string& service, double share) {
    v1::SetServiceSettingsRequest request;
    request.set_service(service);
    request.mutable_settings()->set_brake_share(share);
    absl::Status status = absl::UnknownError("no answer");
    core_->registry.SetServiceSettings(request,
                                       [&](const auto& result) { status = result.status(); });
    core_->Run();
    ASSERT_TRUE(status.ok()) << status;
  }
  void Register(const std::string& service, int first, int last, const std::string& zone) {
    for (int i = first; i <= last; ++i) {
      v1::RegisterRequest request;
      request.mutable_instance()->set_service(service);
      request.mutable_instance()->set_id(absl::StrCat("i", i));
      request.mutable_instance()->set_address("10.0.0.1");
      if (!zone.empty()) request.mutable_instance()->mutable_locality()->set_zone(zone);
      request.set_life_id(std::string(16, 'a'));
      request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(kTtl));
      const auto registered = core_->Register(request);
      ASSERT_TRUE(registered.ok()) << registered.status();
      handles_[Name(service, i, zone)] = registered->incarnation;
    }
  }
  static std::string Name(const std::string& service, int number, const std::string& zone) {
    return absl::StrCat(service, "/", zone, "/", number);
  }
  using Beats = std::function<bool(const std::string& name)>;
  static Beats All() {
    return [](const std::string&) { return true; };
  }
  static Beats None() {
    return [](const std::string&) { return false; };
  }
  static Beats AllBut(const std::string& prefix) {
    return [prefix](const std::string& name) { return !absl::StartsWith(name, prefix); };
  }
  // Time passes; those who beat do so every third of their TTL.
  void Live(absl::Duration d, const Beats& beats) {
    for (; d > absl::ZeroDuration(); d -= absl::Milliseconds(100)) {
      if (++steps_ % 10 == 0) Beat(beats);
      core_->Advance(absl::Milliseconds(100));
    }
  }
  void Beat(const Beats& beats) {
    for (const auto& [name, handle] : handles_) {
      if (beats(name)) {
        ASSERT_EQ(core_->Beat(handle), R::RENEWED) << name;
      }
    }
  }
  size_t Size(const std::string& service = "web") const {
    const auto view = core_->View(service);
    return view == nullptr ? 0 : view->size();
  }
  uint64_t Held() const { return core_->registry.brake().held; }
  uint64_t Groups() const { return core_->registry.brake().groups; }
  static constexpr auto kStorage = static_cast<uint8_t>(HoldReason::kStorageReadOnly);
  static constexpr auto kBrake = static_cast<uint8_t>(HoldReason::kBrake);
  uint8_t ReasonsOf(const std::string& service) const {
    const auto held = core_->held.Of(storage::EncodeServiceKey("default", service));
    return held == nullptr ? 0 : held->zones[0]->reasons;
  }
  // As readers see it.
  size_t Marked(const std::string& service = "web") const {
    const auto held = core_->held.Of(storage::EncodeServiceKey("default", service));
    if (held == nullptr) return 0;
    size_t count = 0;
    for (const auto& zone : held->zones) {
      EXPECT_EQ(zone->reasons, kBrake);
      count += zone->keys.size();
    }
    return count;
  }

  base::FakeClock clock_;
  std::shared_ptr<storage::MemoryStore> store_ = std::make_shared<storage::MemoryStore>();
  std::unique_ptr<CoreStack> core_;
  std::map<std::string, uint64_t> handles_;
  int steps_ = 0;
};

TEST_F(RegistryBrakeTest, WhoIsCutOffForLessThanTheHoldLosesNobody) {
  Register("web", 1, 50, "z1");
  Live(kTtl * 2, All());
  const auto before = core_->catalog.revision();
  Live(kTtl + absl::Seconds(1), None());
  EXPECT_EQ(Held(), 50u);
  EXPECT_EQ(Groups(), 1u);
  EXPECT_EQ(Marked(), 50u);
  Live(kHold - absl::Seconds(2), None());
  EXPECT_EQ(Size(), 50u);
  Beat(All());
  Live(absl::Seconds(2), All());
  EXPECT_EQ(Size(), 50u);
  EXPECT_EQ(Marked(), 0u);
  EXPECT_EQ(Held(), 0u);
  EXPECT_EQ(Groups(), 0u);
  EXPECT_EQ(core_->catalog.revision().seq, before.seq) << "an overlay, no change";
}

TEST_F(RegistryBrakeTest, WhoIsCutOffForLongLeavesSlowlyAndTheHoldEnds) {
  Register("web", 1, 50, "z1");
  Live(kTtl + absl::Seconds(1), None());
  const base::SystemTime since = core_->registry.brake().since;
  EXPECT_LE(clock_.System() - since, absl::Milliseconds(1100));
  EXPECT_GE(clock_.System() - since, absl::Milliseconds(900));
  Live(kHold - absl::Milliseconds(1200), None());
  EXPECT_EQ(Size(), 50u);
  for (const size_t left : {42u, 34u, 26u, 18u, 10u, 2u}) {
    Live(kInterval, None());
    EXPECT_EQ(Size(), left);
    EXPECT_EQ(Held(), left);
    EXPECT_EQ(Marked(), left);
  }
  Live(kInterval, None());
  EXPECT_EQ(Size(), 0u);
  EXPECT_EQ(Groups(), 0u);
  EXPECT_EQ(Marked(), 0u);
  EXPECT_EQ(core_->held.size(), 0u);
}

TEST_F(RegistryBrakeTest, TenOfFiftyAreGoneAsSoonAsEver) {
  Register("web", 1, 50, "z1");
  Live(kTtl, All());
  Live(kTtl + absl::Seconds(1), AllBut("web/z1/1"));  // 1 and 10 to 19
  EXPECT_EQ(Size(), 39u);
  EXPECT_EQ(Groups(), 0u);
}

TEST_F(RegistryBrakeTest, TheShareIsExactAndFiveAreEnough) {
  Register("web", 0, 9, "z1");
  Register("five", 1, 5, "z1");
  Live(kTtl, All());
  Live(kTtl + absl::Seconds(1), [](const std::string& name) {
    return name != "web/z1/0" && name != "web/z1/1" && name != "web/z1/2" && name != "five/z1/1" &&
           name != "five/z1/2";
  });
  EXPECT_EQ(Size(), 7u) << "3 of 10";
  EXPECT_EQ(Size("five"), 5u) << "2 of 5";
  EXPECT_EQ(Marked("five"), 2u);
}

TEST_F(RegistryBrakeTest, AServiceOfFewIsJudgedWithItsZone) {
  Register("web", 1, 3, "z1");
  Register("other", 1, 20, "z1");
  Live(kTtl, All());
  Live(kTtl + absl::Seconds(1),
       [](const std::string& name) { return name != "web/z1/1" && name != "web/z1/2"; });
  EXPECT_EQ(Size(), 1u) << "2 of 23";
  // And held with it.
  Live(kTtl + absl::Seconds(1), None());
  EXPECT_EQ(Size(), 1u);
  EXPECT_EQ(Marked(), 1u);
  EXPECT_EQ(Groups(), 2u) << "the zone, and the other service in it";
}

TEST_F(RegistryBrakeTest, AZoneOfFewIsJudgedWithTheServer) {
  Register("web", 1, 2, "z1");
  Register("web", 3, 4, "z2");
  Register("db", 1, 4, "");
  Live(kTtl, All());
  Live(kTtl + absl::Seconds(1), AllBut("web/z1/"));
  EXPECT_EQ(Size(), 2u) << "2 of 8";
  Live(kTtl + absl::Seconds(1),
       [](const std::string& name) { return absl::StartsWith(name, "db/"); });
  EXPECT_EQ(Marked(), 2u) << "2 of 6";
  EXPECT_EQ(Groups(), 1u);
}

TEST_F(RegistryBrakeTest, WhereFewerThanFiveAreKnownNobodyIsHeld) {
  Register("web", 1, 2, "z1");
  Register("db", 1, 2, "");
  Live(kTtl + absl::Seconds(1), None());
  EXPECT_EQ(Size() + Size("db"), 0u);
}

TEST_F(RegistryBrakeTest, FourOfOneServiceAreHeldOnlyIfTheOthersAreSilentToo) {
  Register("web", 1, 4, "z1");
  Register("db", 1, 1, "z1");
  Live(kTtl, All());
  Live(kTtl + absl::Seconds(1), None());
  EXPECT_EQ(Marked() + Marked("db"), 5u);
  EXPECT_EQ(Groups(), 1u);
}

TEST_F(RegistryBrakeTest, OneZoneThatIsCutOffHoldsBackNobodyInAnother) {
  Register("web", 1, 20, "z1");
  Register("web", 21, 40, "z2");
  Register("small", 1, 2, "z1");
  Register("small", 3, 4, "z2");
  Live(kTtl, All());
  Live(kTtl + absl::Seconds(1), [](const std::string& name) {
    return absl::StrContains(name, "/z2/") && name != "web/z2/21" && name != "small/z2/3";
  });
  EXPECT_EQ(Size(), 39u);
  EXPECT_EQ(Marked(), 20u);
  EXPECT_EQ(Size("small"), 3u);
  EXPECT_EQ(Marked("small"), 2u);
}

TEST_F(RegistryBrakeTest, WhenMostAreBackTheRestLeavesAtOnce) {
  Register("web", 1, 50, "z1");
  Live(kTtl + absl::Seconds(1), None());
  EXPECT_EQ(Held(), 50u);
  Beat(AllBut("web/z1/2"));  // 2 and 20 to 29: 11 of 50
  Live(absl::Milliseconds(1500), AllBut("web/z1/2"));
  EXPECT_EQ(Size(), 39u);
  EXPECT_EQ(Groups(), 0u);
}

TEST_F(RegistryBrakeTest, WhoIsHeldMayBeDeregisteredAndRegisteredAgain) {
  Register("web", 1, 10, "z1");
  Live(kTtl + absl::Seconds(1), None());
  v1::DeregisterRequest remove;
  remove.mutable_key()->set_service("web");
  remove.mutable_key()->set_id("i1");
  ASSERT_TRUE(core_->Deregister(remove).ok());
  handles_.erase("web/z1/1");
  Register("web", 2, 2, "z1");  // as it was
  Live(absl::Milliseconds(200), None());
  EXPECT_EQ(Size(), 9u);
  EXPECT_EQ(Held(), 8u);
  EXPECT_EQ(Marked(), 8u);
}

TEST_F(RegistryBrakeTest, ExplicitDeregistrationsHoldNobody) {
  Register("web", 1, 50, "z1");
  for (int i = 1; i <= 45; ++i) {
    v1::DeregisterRequest remove;
    remove.mutable_key()->set_service("web");
    remove.mutable_key()->set_id(absl::StrCat("i", i));
    ASSERT_TRUE(core_->Deregister(remove).ok());
    handles_.erase(Name("web", i, "z1"));
  }
  EXPECT_EQ(Size(), 5u) << "at once";
  Live(kTtl * 2, AllBut("web/z1/50"));
  EXPECT_EQ(Size(), 4u);
  EXPECT_EQ(Groups(), 0u);
}

TEST_F(RegistryBrakeTest, AServiceMayHaveAShareOfItsOwn) {
  Start(WithBrake());
  SetShare("never", 0);
  SetShare("half", 0.5);
  for (const char* service : {"never", "half", "web"}) Register(service, 1, 10, "z1");
  Live(kTtl, All());
  Live(kTtl + absl::Seconds(1), [](const std::string& name) { return name.back() > '4'; });
  EXPECT_EQ(Size("never"), 5u) << "1 to 4, and 10";
  EXPECT_EQ(Size("half"), 5u);
  EXPECT_EQ(Size("web"), 10u);
  SetShare("web", 0);
  Live(absl::Milliseconds(1500),
       [](const std::string& name) { return absl::StartsWith(name, "web/") && name.back() > '4'; });
  EXPECT_EQ(Size("web"), 5u) << "settings take effect on those that are held";
}

TEST_F(RegistryBrakeTest, OnlyAServiceMayHaveIt) {
  Start({});
  SetShare("web", 0.3);
  Register("web", 1, 10, "z1");
  Register("db", 1, 10, "z1");
  Live(kTtl + absl::Seconds(1), None());
  EXPECT_EQ(Size("web"), 10u);
  EXPECT_EQ(Size("db"), 0u);
}

TEST_F(RegistryBrakeTest, WithoutAShareAllLeaveAtOnce) {
  Start({});
  Register("web", 1, 50, "z1");
  Live(kTtl + absl::Seconds(1), None());
  EXPECT_EQ(Size(), 0u);
}

// A restart begins every lease anew, some with more than their TTL.
TEST_F(RegistryBrakeTest, ARestartHoldsNobody) {
  Register("web", 1, 50, "z1");
  Live(kTtl, All());
  core_->engine.Close();
  clock_.Advance(absl::Hours(1));
  Start(WithBrake());
  uint64_t groups = 0;
  for (int tenth = 0; tenth < 60; ++tenth) {
    Live(absl::Milliseconds(100), AllBut("web/z1/1"));
    groups = std::max(groups, Groups());
  }
  EXPECT_EQ(groups, 0u);
  EXPECT_EQ(Size(), 39u) << "who died meanwhile leaves after 4.5 s at the latest";
}

TEST_F(RegistryBrakeTest, APauseOfTheProcessHoldsNobody) {
  Register("web", 1, 50, "z1");
  Live(kTtl, All());
  clock_.Advance(absl::Minutes(5));
  core_->leases.Tick();
  EXPECT_EQ(core_->registry.ExpireDue(), 0u);
  EXPECT_EQ(Groups(), 0u);
  Live(kTtl * 2, AllBut("web/z1/1"));
  EXPECT_EQ(Size(), 39u);
  EXPECT_EQ(Groups(), 0u);
}

// Nor does the time of the hold go on.
TEST_F(RegistryBrakeTest, APauseOfTheProcessReleasesNobody) {
  Register("web", 1, 50, "z1");
  Live(kTtl + absl::Seconds(1), None());
  clock_.Advance(absl::Minutes(5));
  core_->leases.Tick();
  Live(kHold - absl::Seconds(2), None());
  EXPECT_EQ(Size(), 50u);
}

TEST_F(RegistryBrakeTest, WhoIsSilentIsHeldAlsoByAStoreThatTakesWritesAgain) {
  Register("web", 1, 50, "z1");
  Live(kTtl, All());
  store_->FailWrites(DiskFull());
  Live(kTtl + absl::Seconds(1), AllBut("web/z1/1"));
  EXPECT_EQ(ReasonsOf("web"), kStorage) << "11 of 50: their removal was tried";
  EXPECT_EQ(Groups(), 0u);
  Live(kTtl + absl::Seconds(1), None());
  EXPECT_EQ(core_->held.size(), 50u);
  store_->FailWrites(absl::OkStatus());
  Live(absl::Seconds(3), None());
  EXPECT_EQ(Size(), 50u);
  EXPECT_EQ(Held(), 50u);
  EXPECT_EQ(ReasonsOf("web"), kBrake) << "it isn't the store any more";
  Live(kHold, None());
  EXPECT_LT(Size(), 50u);
  EXPECT_GT(Size(), 0u);
}

// Its removal isn't what tries.
TEST_F(RegistryBrakeTest, WhoIsHeldStaysSoWhileTheStoreTakesNoWrites) {
  Register("web", 1, 10, "z1");
  Register("worker", 1, 10, "z2");
  Live(kTtl, All());
  store_->FailWrites(DiskFull());
  const Beats most = [](const std::string& name) {
    return absl::StartsWith(name, "worker/") && name != "worker/z2/1";
  };
  Live(kTtl + absl::Seconds(4), most);
  EXPECT_EQ(Held(), 10u);
  EXPECT_EQ(ReasonsOf("web") & kBrake, kBrake);
  EXPECT_EQ(ReasonsOf("worker"), kStorage);
  store_->FailWrites(absl::OkStatus());
  Live(absl::Seconds(3), most);
  EXPECT_EQ(Marked(), 10u);
  EXPECT_EQ(Size("worker"), 9u);
}

TEST_F(RegistryBrakeTest, WhomTheBrakeLetGoIsHeldByTheStoreThatTakesNoWrites) {
  Register("web", 1, 10, "z1");
  Live(kTtl + absl::Seconds(1), None());
  EXPECT_EQ(ReasonsOf("web"), kBrake);
  store_->FailWrites(absl::ResourceExhaustedError("no space left"));
  Live(kHold + kInterval, None());
  const auto held = core_->held.Of(storage::EncodeServiceKey("default", "web"));
  ASSERT_EQ(held->zones.size(), 1u);
  EXPECT_EQ(held->zones[0]->keys.size(), 10u);
  EXPECT_EQ(ReasonsOf("web"), kBrake | kStorage);
  core_->held.Release(storage::EncodeInstanceKey("default", "web", "", "i1"),
                      HoldReason::kStorageReadOnly);
  EXPECT_EQ(core_->held.size(), 9u) << "the brake holds it no more";
}

TEST_F(RegistryBrakeTest, HoweverManyFallDueTheThreadIsGivenBack) {
  v1::BatchRegisterRequest batch;
  for (int i = 0; i < 1000; ++i) {
    v1::RegisterRequest& request = *batch.add_requests();
    request.mutable_instance()->set_id(absl::StrCat("i", i));
    request.mutable_instance()->set_address("10.0.0.1");
    request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(kTtl));
  }
  for (int service = 0; service < 5; ++service) {
    for (auto& request : *batch.mutable_requests()) {
      request.mutable_instance()->set_service(absl::StrCat("s", service));
    }
    core_->registry.BatchRegister(batch, {}, [](const auto&) {});
    core_->Run();
  }
  ASSERT_EQ(core_->leases.size(), 5000u);
  for (int tenth = 0; tenth < 31; ++tenth) {
    clock_.Advance(absl::Milliseconds(100));
    core_->leases.Tick();
  }
  int ticks = 0;
  for (uint64_t before = 0; before < 5000; before = Held()) {
    while (core_->registry.ExpireDue() > 0) {
    }
    EXPECT_GT(Held(), before);
    EXPECT_LT(Held() - before, 1024u + 512u);
    EXPECT_EQ(core_->registry.is_removing(), Held() < 5000);
    ASSERT_LT(++ticks, 10);
  }
  EXPECT_GE(ticks, 4);
  EXPECT_EQ(core_->catalog.instance_count(), 5000u);
}

}  // namespace
}  // namespace muster::core

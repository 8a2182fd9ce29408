#include "server/core/silence_census.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "server/core/zone_tag.h"
#include "tests/support/core_stack.h"

namespace muster::core {
namespace {

using Level = BrakeGroup::Level;

constexpr absl::Duration kTtl = absl::Seconds(30);

BrakeGroup ServiceIn(const std::string& service, const std::string& zone) {
  return {Level::kService, storage::EncodeServiceKey("default", service), ZoneTag(zone)};
}
BrakeGroup Zone(const std::string& zone) { return {Level::kZone, "", ZoneTag(zone)}; }
const BrakeGroup kServer{};

class SilenceCensusTest : public testing::Test {
 protected:
  uint64_t Register(const std::string& service, const std::string& id, const std::string& zone,
                    absl::Duration ttl = kTtl) {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service(service);
    request.mutable_instance()->set_node("n");
    request.mutable_instance()->set_id(id);
    request.mutable_instance()->set_address("10.0.0.1");
    if (!zone.empty()) request.mutable_instance()->mutable_locality()->set_zone(zone);
    if (ttl == absl::ZeroDuration()) {
      request.set_permanent(true);
    } else {
      request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(ttl));
    }
    const auto registered = core_.Register(request);
    EXPECT_TRUE(registered.ok()) << registered.status();
    return registered.ok() ? registered->incarnation : 0;
  }
  // Without expiring anybody.
  void Pass(absl::Duration d) {
    for (; d > absl::ZeroDuration(); d -= absl::Milliseconds(100)) {
      clock_.Advance(std::min(d, absl::Milliseconds(100)));
      core_.leases.Tick();
    }
  }
  Silence Of(const BrakeGroup& group, absl::Duration ttl = kTtl) { return census_.Of(group, ttl); }

  base::FakeClock clock_;
  CoreStack core_{clock_};
  SilenceCensus census_{core_.catalog, core_.leases, clock_};
};

TEST_F(SilenceCensusTest, CountsByServiceZoneAndAll) {
  for (int i = 0; i < 300; ++i) {
    Register("web", absl::StrCat("w", i), i < 200 ? "z1" : "z2");
  }
  Register("db", "d", "z2");
  Register("plain", "p", "");
  EXPECT_EQ(Of(ServiceIn("web", "z1")), (Silence{200, 0})) << "of more than one leaf";
  EXPECT_EQ(Of(ServiceIn("web", "z2")), (Silence{100, 0}));
  EXPECT_EQ(Of(ServiceIn("web", "")), (Silence{}));
  EXPECT_EQ(Of(ServiceIn("none", "z1")), (Silence{}));
  EXPECT_EQ(Of(ServiceIn("plain", "")), (Silence{1, 0})) << "no zone is a zone";
  EXPECT_EQ(Of(Zone("z1")), (Silence{200, 0}));
  EXPECT_EQ(Of(Zone("z2")), (Silence{101, 0}));
  EXPECT_EQ(Of(Zone("")), (Silence{1, 0}));
  EXPECT_EQ(Of(Zone("z3")), (Silence{}));
  EXPECT_EQ(Of(kServer), (Silence{302, 0}));
  EXPECT_EQ(census_.full_counts(), 1u);
}

TEST_F(SilenceCensusTest, WhoWasntHeardForMoreThanHalfOfItsTtlIsSilent) {
  Register("web", "a", "z1");
  const uint64_t beats = Register("web", "b", "z1");
  Register("web", "long", "z1", absl::Seconds(60));
  Pass(absl::Seconds(15));
  EXPECT_EQ(Of(ServiceIn("web", "z1")), (Silence{3, 0}));
  EXPECT_EQ(Of(kServer), (Silence{3, 0}));
  EXPECT_EQ(core_.Beat(beats), v1::HeartbeatResponse::RENEWED);
  Pass(absl::Seconds(1));
  EXPECT_EQ(Of(ServiceIn("web", "z1")), (Silence{3, 1}));
  EXPECT_EQ(Of(Zone("z1")), (Silence{3, 1}));
  EXPECT_EQ(Of(kServer), (Silence{3, 1}));
}

TEST_F(SilenceCensusTest, ExactlyHalfIsNotSilent) {
  Register("web", "a", "");
  const auto lease = core_.leases.Find(storage::EncodeInstanceKey("default", "web", "n", "a"));
  const int64_t half = LeaseTable::DeadlineUs(*lease) - 15'000'000;
  EXPECT_FALSE(LeaseTable::IsSilent(*lease, half));
  EXPECT_TRUE(LeaseTable::IsSilent(*lease, half + 1));
}

TEST_F(SilenceCensusTest, PermanentLeasesDontCount) {
  Register("web", "a", "z1", absl::ZeroDuration());
  Pass(absl::Hours(1));
  Register("web", "b", "z1");
  EXPECT_EQ(Of(ServiceIn("web", "z1")), (Silence{1, 0}));
  EXPECT_EQ(Of(kServer), (Silence{1, 0}));
}

TEST_F(SilenceCensusTest, ARegistrationInAnotherZoneMoves) {
  Register("web", "a", "z1");
  Register("web", "a", "z2");
  EXPECT_EQ(Of(Zone("z1")), (Silence{}));
  EXPECT_EQ(Of(Zone("z2")), (Silence{1, 0}));
}

TEST_F(SilenceCensusTest, CountsAreKeptForAMoment) {
  Register("web", "a", "z1");
  Of(ServiceIn("web", "z1"));
  Of(Zone("z1"));
  Register("web", "b", "z1");
  Pass(absl::Milliseconds(249));
  EXPECT_EQ(Of(ServiceIn("web", "z1")), (Silence{1, 0}));
  Pass(absl::Milliseconds(1));
  EXPECT_EQ(Of(ServiceIn("web", "z1")), (Silence{2, 0}));
  Pass(absl::Milliseconds(749));
  EXPECT_EQ(Of(Zone("z1")), (Silence{1, 0}));
  EXPECT_EQ(Of(kServer), (Silence{1, 0}));
  Pass(absl::Milliseconds(1));
  EXPECT_EQ(Of(Zone("z1")), (Silence{2, 0}));
  EXPECT_EQ(census_.service_counts(), 2u);
  EXPECT_EQ(census_.full_counts(), 2u);
}

// Those that fell silent since would be missed: they have an eighth of a TTL between them at most.
TEST_F(SilenceCensusTest, ShortTtlsNeedNewerCounts) {
  Register("web", "a", "z1");
  Of(ServiceIn("web", "z1"));
  Of(kServer);
  Register("web", "b", "z1");
  Pass(absl::Milliseconds(125));
  EXPECT_EQ(Of(ServiceIn("web", "z1")), (Silence{1, 0}));
  EXPECT_EQ(Of(kServer), (Silence{1, 0}));
  EXPECT_EQ(Of(ServiceIn("web", "z1"), absl::Seconds(1)), (Silence{2, 0}));
  EXPECT_EQ(Of(kServer, absl::Seconds(1)), (Silence{2, 0}));
}

// A clock on which each reading takes time, as counting does.
class SlowClock : public base::FakeClock {
 public:
  base::SteadyTime Steady() const override {
    const_cast<SlowClock*>(this)->Advance(cost);
    return FakeClock::Steady();
  }
  absl::Duration cost;
};

TEST_F(SilenceCensusTest, WhatIsDearIsKeptLonger) {
  SlowClock clock;
  SilenceCensus census(core_.catalog, core_.leases, clock);
  clock.cost = absl::Milliseconds(200);
  census.Of(kServer, kTtl);
  clock.cost = absl::ZeroDuration();
  clock.Advance(absl::Milliseconds(3'999));
  census.Of(kServer, kTtl);
  EXPECT_EQ(census.full_counts(), 1u);
  clock.Advance(absl::Milliseconds(1));
  census.Of(kServer, kTtl);
  EXPECT_EQ(census.full_counts(), 2u);
}

TEST_F(SilenceCensusTest, ACountThatWasStoppedIsKeptForAQuarterOfATtlAtMost) {
  Register("web", "a", "z1");
  SlowClock clock;
  SilenceCensus census(core_.catalog, core_.leases, clock);
  clock.cost = absl::Seconds(30);
  census.Of(kServer, kTtl);
  census.Of(ServiceIn("web", "z1"), kTtl);
  clock.cost = absl::ZeroDuration();
  clock.Advance(kTtl / 4);
  census.Of(kServer, kTtl);
  census.Of(ServiceIn("web", "z1"), kTtl);
  EXPECT_EQ(census.full_counts(), 2u);
  EXPECT_EQ(census.service_counts(), 2u);
}

}  // namespace
}  // namespace muster::core

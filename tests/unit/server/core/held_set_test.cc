#include "server/core/held_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "tests/support/core_stack.h"

namespace muster::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using R = v1::HeartbeatResponse;

constexpr absl::Duration kTtl = absl::Seconds(3);
const std::string kService = storage::EncodeServiceKey("default", "api");

v1::RegisterRequest Request(const std::string& id, const std::string& zone = "") {
  v1::RegisterRequest request;
  v1::Instance* instance = request.mutable_instance();
  instance->set_service("api");
  instance->set_id(id);
  instance->set_address("10.0.0.1");
  if (!zone.empty()) instance->mutable_locality()->set_zone(zone);
  request.set_life_id(std::string(16, 'a'));
  request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(kTtl));
  return request;
}

std::string KeyOf(const std::string& id) {
  return storage::EncodeInstanceKey("default", "api", "", id);
}

v1::InstanceKey ProtoKey(const std::string& id) {
  v1::InstanceKey key;
  key.set_service("api");
  key.set_id(id);
  return key;
}

// Ids by zone, as published.
std::vector<std::string> HeldIn(const HeldSet& held) {
  std::vector<std::string> out;
  const auto service = held.Of(kService);
  if (service == nullptr) return out;
  for (const auto& zone : service->zones) {
    for (const HeldKey& key : zone->keys) out.push_back(absl::StrCat(zone->zone, "/", key.id));
  }
  return out;
}

// Who holds what: over leases that are overdue and that nobody removes.
class HeldSetTest : public testing::Test {
 protected:
  uint64_t Register(const std::string& id, const std::string& zone = "") {
    const auto response = core_.Register(Request(id, zone));
    EXPECT_TRUE(response.ok()) << response.status();
    return response->incarnation;
  }
  void FallDue() {
    for (absl::Duration passed; passed <= kTtl; passed += absl::Milliseconds(500)) {
      clock_.Advance(absl::Milliseconds(500));
      core_.leases.Tick();
    }
  }
  void Hold(const std::string& id, HoldReason reason = HoldReason::kBrake) {
    core_.held.Hold(KeyOf(id), reason);
  }
  std::vector<std::string> Held() {
    clock_.Advance(absl::Milliseconds(1));  // so that a small set may be published again
    core_.held.Refresh();
    return HeldIn(core_.held);
  }

  base::FakeClock clock_;
  CoreStack core_{clock_};
};

TEST_F(HeldSetTest, NothingIsHeldAtFirst) {
  EXPECT_EQ(core_.held.Of(kService), nullptr);
  EXPECT_FALSE(core_.held.any());
  EXPECT_EQ(core_.held.size(), 0u);
  EXPECT_THAT(Held(), IsEmpty());
}

TEST_F(HeldSetTest, GroupsByZoneAndSaysSinceWhenAndWhy) {
  for (const char* id : {"b", "a", "c"}) Register(id, id[0] == 'c' ? "z2" : "z1");
  Register("d");
  FallDue();
  const base::SystemTime first = clock_.System();
  Hold("b");
  clock_.Advance(absl::Milliseconds(10));
  for (const char* id : {"a", "c", "d"}) Hold(id, HoldReason::kStorageReadOnly);
  EXPECT_FALSE(core_.held.any()) << "not before it is published";
  EXPECT_THAT(Held(), ElementsAre("/d", "z1/a", "z1/b", "z2/c"));
  EXPECT_EQ(core_.held.size(), 4u);
  const auto service = core_.held.Of(kService);
  const HeldZone* zone = service->Find("", "a");
  ASSERT_NE(zone, nullptr);
  EXPECT_EQ(zone->zone, "z1");
  EXPECT_EQ(zone->since, first);
  EXPECT_EQ(service->Find("", "bb"), nullptr);
  EXPECT_EQ(service->Find("node", "a"), nullptr);
  EXPECT_EQ(core_.held.Of(storage::EncodeServiceKey("default", "other")), nullptr);

  v1::Held told;
  ASSERT_EQ(zone->parts.size(), 1u);
  ASSERT_TRUE(told.ParseFromString(zone->parts[0]));
  EXPECT_EQ(told.zone(), "z1");
  EXPECT_EQ(told.since().seconds(), first.us / 1'000'000);
  EXPECT_THAT(told.reasons(), ElementsAre(v1::Held::STORAGE_READ_ONLY, v1::Held::BRAKE));
  EXPECT_EQ(told.keys_size(), 2);
  EXPECT_EQ(told.count(), 2u);
  EXPECT_FALSE(told.more());
}

TEST_F(HeldSetTest, HeldAsLongAsAReasonStands) {
  Register("a");
  FallDue();
  Hold("a", HoldReason::kBrake);
  Hold("a", HoldReason::kStorageReadOnly);
  EXPECT_THAT(Held(), ElementsAre("/a"));
  core_.held.Release(KeyOf("a"), HoldReason::kBrake);
  core_.held.Release(KeyOf("a"), HoldReason::kBrake);
  EXPECT_THAT(Held(), ElementsAre("/a"));
  EXPECT_EQ(core_.held.Of(kService)->zones[0]->reasons,
            static_cast<uint8_t>(HoldReason::kStorageReadOnly));
  core_.held.Release(KeyOf("a"), HoldReason::kStorageReadOnly);
  EXPECT_EQ(core_.held.size(), 0u);
  EXPECT_THAT(Held(), IsEmpty());
  EXPECT_FALSE(core_.held.any());
}

TEST_F(HeldSetTest, WhoIsRenewedReplacedOrRemovedIsLetGo) {
  const uint64_t renewed = Register("renewed");
  for (const char* id : {"replaced", "removed", "reported", "silent"}) Register(id);
  FallDue();
  for (const char* id : {"renewed", "replaced", "removed", "silent"}) Hold(id);
  EXPECT_EQ(Held().size(), 4u);
  EXPECT_EQ(core_.Beat(renewed), R::RENEWED);
  auto next = Request("replaced");
  next.set_life_id(std::string(16, 'b'));
  ASSERT_TRUE(core_.Register(next).ok());
  v1::DeregisterRequest removal;
  *removal.mutable_key() = ProtoKey("removed");
  ASSERT_TRUE(core_.Deregister(removal).ok());
  EXPECT_THAT(Held(), ElementsAre("/silent"));
}

TEST_F(HeldSetTest, WhatIsNotOverdueIsNotHeld) {
  Register("a");
  Hold("a");
  Hold("nobody");
  EXPECT_THAT(Held(), IsEmpty());
  EXPECT_EQ(core_.held.size(), 0u);
}

TEST_F(HeldSetTest, AnUnchangedZoneIsNotMadeAnew) {
  Register("a", "z1");
  Register("b", "z2");
  FallDue();
  Hold("a");
  Held();
  const auto before = core_.held.Of(kService);
  clock_.Advance(absl::Seconds(1));
  Hold("b");
  Held();
  const auto after = core_.held.Of(kService);
  ASSERT_EQ(after->zones.size(), 2u);
  EXPECT_EQ(after->zones[0], before->zones[0]);
  EXPECT_NE(after->zones[1]->version, after->zones[0]->version);
}

class CountingListener : public ViewListener {
 public:
  void OnServiceChanged(std::string_view key) override { woken += key == kService ? 1 : 0; }
  void OnNamesChanged() override {}
  int woken = 0;
};

TEST_F(HeldSetTest, WatchersAreWokenOnceForEachChange) {
  CountingListener listener;
  core_.hub.AddListener(&listener);
  Register("a");
  FallDue();
  core_.hub.Follow(&listener, kService);
  Hold("a");
  Held();
  EXPECT_EQ(listener.woken, 1);
  Hold("a");
  clock_.Advance(absl::Seconds(1));
  Held();
  EXPECT_EQ(listener.woken, 1);
  core_.held.Release(KeyOf("a"), HoldReason::kBrake);
  Held();
  EXPECT_EQ(listener.woken, 2);
  core_.hub.RemoveListener(&listener);
}

TEST_F(HeldSetTest, ABigSetIsToldInPartsAndLessOften) {
  constexpr int kCount = 10'000;
  const std::string long_id(200, 'x');
  std::vector<uint64_t> handles;
  for (int i = 0; i < kCount; ++i) handles.push_back(Register(absl::StrCat(long_id, i), "z"));
  FallDue();
  for (int i = 0; i < kCount; ++i) Hold(absl::StrCat(long_id, i));
  core_.held.Refresh();
  const auto zone = core_.held.Of(kService)->zones[0];
  EXPECT_EQ(zone->keys.size(), static_cast<size_t>(kCount));
  size_t keys = 0;
  for (const std::string& bytes : zone->parts) {
    EXPECT_LE(bytes.size(), 512u * 1024);
    v1::Held part;
    ASSERT_TRUE(part.ParseFromString(bytes));
    keys += part.keys_size();
    EXPECT_EQ(part.count(), static_cast<uint64_t>(kCount));
    EXPECT_EQ(part.more(), &bytes != &zone->parts.back());
  }
  EXPECT_EQ(keys, static_cast<size_t>(kCount));
  EXPECT_GT(zone->parts.size(), 3u);

  ASSERT_EQ(core_.Beat(handles[17]), R::RENEWED);
  clock_.Advance(absl::Milliseconds(100));
  for (int i = 0; i < kCount / 4096 + 1; ++i) core_.held.Refresh();
  EXPECT_EQ(core_.held.size(), static_cast<uint64_t>(kCount - 1)) << "each was looked at";
  EXPECT_EQ(core_.held.Of(kService)->zones[0], zone) << "too early to tell";
  clock_.Advance(absl::Milliseconds(100));
  core_.held.Refresh();
  EXPECT_EQ(core_.held.Of(kService)->zones[0]->keys.size(), static_cast<size_t>(kCount - 1));
}

// A store that takes no writes, for a while or for good.
class RefusingEngine : public storage::MemoryEngine {
 public:
  using storage::MemoryEngine::MemoryEngine;
  void Propose(storage::Batch batch, storage::WriteClass write_class, storage::Done done) override {
    proposed += batch.units.size();
    if (!refuse) {
      return MemoryEngine::Propose(std::move(batch), write_class, std::move(done));
    }
    done(std::vector<storage::UnitResult>(
        batch.units.size(),
        {.status = base::MakeError(absl::StatusCode::kUnavailable, *refuse, "no")}));
  }
  std::optional<base::Reason> refuse;
  size_t proposed = 0;
};

class RefusedRemovalsTest : public testing::Test {
 protected:
  RefusedRemovalsTest() {
    EXPECT_TRUE(engine_.Open({&applier_}).ok());
    leases_.SetLoaded();
  }
  ~RefusedRemovalsTest() override { engine_.Close(); }

  std::vector<uint64_t> Register(int count) {
    std::vector<uint64_t> handles;
    for (int i = 0; i < count; ++i) {
      registry_.Register(Request(absl::StrCat(i)), {}, [&](const auto& response) {
        ASSERT_TRUE(response.ok());
        handles.push_back(response->incarnation);
      });
      engine_.RunPending();
    }
    return handles;
  }
  void Advance(absl::Duration d) {
    for (; d > absl::ZeroDuration(); d -= absl::Milliseconds(100)) {
      clock_.Advance(absl::Milliseconds(100));
      leases_.Tick();
      do {
        engine_.RunPending();
      } while (registry_.ExpireDue() > 0);
      held_.Refresh();
    }
  }
  R::Outcome Beat(uint64_t handle) {
    v1::HeartbeatRequest request;
    request.add_lease_handles(handle);
    return registry_.Heartbeat(request)->outcomes(0);
  }
  size_t Size() { return catalog_.Get("default", "api")->view->size(); }

  base::FakeClock clock_;
  base::SeededRng rng_{1};
  Catalog catalog_;
  WatchHub hub_;
  LeaseTable leases_{clock_, rng_, {}};
  HeldSet held_{catalog_, leases_, hub_, clock_};
  Applier applier_{catalog_, leases_, hub_};
  RefusingEngine engine_{{.clock = clock_, .rng = rng_, .threaded = false}};
  Registry registry_{engine_, catalog_, leases_, held_, clock_, {}};
};

TEST_F(RefusedRemovalsTest, TheOverdueAreHeldUntilTheyHeartbeat) {
  const auto handles = Register(3);
  engine_.refuse = base::Reason::kStorageReadOnly;
  Advance(kTtl - absl::Seconds(1));
  EXPECT_EQ(Beat(handles[1]), R::RENEWED);
  EXPECT_THAT(HeldIn(held_), IsEmpty());
  Advance(absl::Seconds(2));
  EXPECT_THAT(HeldIn(held_), ElementsAre("/0", "/2"));
  EXPECT_EQ(held_.Of(kService)->zones[0]->reasons,
            static_cast<uint8_t>(HoldReason::kStorageReadOnly));
  EXPECT_EQ(Size(), 3u);
  EXPECT_EQ(Beat(handles[0]), R::RENEWED) << "it is alive after all";
  Advance(absl::Milliseconds(100));
  EXPECT_THAT(HeldIn(held_), ElementsAre("/2"));
  Advance(absl::Seconds(60));
  EXPECT_THAT(HeldIn(held_), ElementsAre("/0", "/1", "/2"));
}

TEST_F(RefusedRemovalsTest, WhenTheStoreTakesWritesAgainTheyGo) {
  const auto handles = Register(100);
  engine_.refuse = base::Reason::kStorageReadOnly;
  Advance(kTtl + absl::Seconds(10));
  EXPECT_EQ(held_.size(), 100u);
  engine_.refuse.reset();
  Advance(absl::Seconds(3));
  EXPECT_EQ(held_.size(), 0u);
  EXPECT_EQ(held_.Of(kService), nullptr);
  EXPECT_EQ(Size(), 0u);
}

TEST_F(RefusedRemovalsTest, AFullQueueHoldsNobody) {
  Register(10);
  engine_.refuse = base::Reason::kQueueFull;
  Advance(kTtl + absl::Seconds(3));
  EXPECT_EQ(held_.size(), 0u);
  engine_.refuse.reset();
  Advance(absl::Seconds(2));
  EXPECT_EQ(Size(), 0u);
}

TEST_F(RefusedRemovalsTest, ManyThatWaitCostLittle) {
  constexpr int kCount = 20'000;
  Register(kCount);
  engine_.refuse = base::Reason::kStorageReadOnly;
  Advance(kTtl + absl::Seconds(1));
  EXPECT_EQ(held_.size(), static_cast<uint64_t>(kCount));
  engine_.proposed = 0;
  Advance(absl::Seconds(30));
  EXPECT_EQ(held_.size(), static_cast<uint64_t>(kCount));
  EXPECT_LE(engine_.proposed, 30u) << "one a second tries for all";
  EXPECT_GE(engine_.proposed, 5u);
  engine_.refuse.reset();
  Advance(absl::Seconds(5));
  EXPECT_EQ(held_.size(), 0u);
  EXPECT_EQ(Size(), 0u);
}

// The real thing: a write that fails makes the engine read-only for good.
TEST(HeldOnFrozenEngine, NothingElseChangesAndARestartForgets) {
  base::FakeClock clock;
  const auto store = std::make_shared<storage::MemoryStore>();
  {
    CoreStack core(clock, store);
    ASSERT_TRUE(core.Register(Request("a", "z1")).ok());
    auto permanent = Request("b");
    permanent.clear_ttl();
    permanent.set_permanent(true);
    ASSERT_TRUE(core.Register(permanent).ok());
    const auto view = core.View("api");
    const auto revision = core.catalog.revision();
    store->FailWrites(absl::ResourceExhaustedError("no space left"));
    EXPECT_FALSE(core.Register(Request("lost")).ok());
    core.Advance(kTtl + absl::Seconds(20));
    EXPECT_TRUE(core.engine.Stats().frozen);
    EXPECT_THAT(HeldIn(core.held), ElementsAre("z1/a"));
    EXPECT_EQ(core.View("api"), view);
    EXPECT_EQ(core.catalog.revision(), revision);
    const auto refused = core.Register(Request("c"));
    EXPECT_EQ(base::ReasonOf(refused.status()), base::Reason::kStorageReadOnly);
    const auto again = core.Register(Request("a", "z1"));
    ASSERT_TRUE(again.ok()) << "a renewal needs no write: " << again.status();
    core.Advance(absl::Milliseconds(100));
    EXPECT_THAT(HeldIn(core.held), IsEmpty());
    core.Advance(kTtl + absl::Seconds(1));
    EXPECT_THAT(HeldIn(core.held), ElementsAre("z1/a"));
  }
  store->FailWrites(absl::OkStatus());
  CoreStack restarted(clock, store);
  restarted.Advance(absl::Milliseconds(100));
  EXPECT_THAT(HeldIn(restarted.held), IsEmpty());
  EXPECT_EQ(restarted.View("api")->size(), 2u);
  restarted.Advance(kTtl * 1.5 + absl::Seconds(1));
  EXPECT_EQ(restarted.View("api")->size(), 1u) << "the lease began anew, and ended";
}

}  // namespace
}  // namespace muster::core

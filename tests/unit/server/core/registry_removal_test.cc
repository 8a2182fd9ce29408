#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "muster/storage/v1/storage.pb.h"
#include "storage/schema.h"
#include "tests/support/core_stack.h"
#include "tests/support/counting_store.h"

namespace muster::core {
namespace {

using storage::Family;

class RemovalTest : public testing::Test {
 protected:
  static v1::RegisterRequest Request() {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service("api");
    request.mutable_instance()->set_id("a");
    request.mutable_instance()->set_address("10.0.0.1");
    request.mutable_instance()->set_port(80);
    v1::Check* check = request.mutable_instance()->add_checks();
    check->set_id("self");
    check->mutable_ttl()->mutable_ttl()->set_seconds(10);
    request.mutable_ttl()->set_seconds(2);
    return request;
  }
  static v1::InstanceKey Key() {
    v1::InstanceKey key;
    key.set_service("api");
    key.set_id("a");
    return key;
  }
  std::string StoredKey() const { return storage::EncodeInstanceKey({"default", "api", "", "a"}); }
  bool HasResult() const {
    return engine().Get(Family::kChecks, storage::EncodeCheckKey(StoredKey(), "self")).ok();
  }
  const storage::Engine& engine() const { return core_.engine; }
  void Report(v1::Health status) {
    v1::ReportHealthRequest report;
    *report.mutable_key() = Key();
    report.set_status(status);
    ASSERT_TRUE(core_.Report(report).ok());
    ASSERT_TRUE(HasResult());
  }
  void Deregister() {
    v1::DeregisterRequest remove;
    *remove.mutable_key() = Key();
    ASSERT_TRUE(core_.Deregister(remove).ok());
  }
  // Until a herd is gone, in turns of 2.3 ms, the 50th of which takes longer by `held_up`.
  absl::Duration TimeToGo(absl::Duration held_up, size_t* longest_turn = nullptr) {
    const base::SteadyTime begin = clock_.Steady();
    for (int turn = 1; core_.catalog.instance_count() > 0 && turn < 3000; ++turn) {
      const size_t took = core_.registry.ExpireDue();
      if (longest_turn != nullptr) *longest_turn = std::max(*longest_turn, took);
      core_.Run();
      clock_.Advance(absl::Microseconds(2300));
      if (turn == 50) clock_.Advance(held_up);
      core_.leases.Tick();
    }
    return clock_.Steady() - begin;
  }
  void ExpectGone() {
    EXPECT_EQ(core_.View("api")->size(), 0U);
    EXPECT_FALSE(engine().Get(Family::kInstances, StoredKey()).ok());
    EXPECT_FALSE(HasResult());
    EXPECT_EQ(core_.leases.Find(StoredKey()), nullptr);
  }

  base::FakeClock clock_;
  std::shared_ptr<test::CountingStore> store_ = std::make_shared<test::CountingStore>();
  CoreStack core_{clock_, store_};
};

TEST_F(RemovalTest, NothingIsReadForWhatNeverReported) {
  ASSERT_TRUE(core_.Register(Request()).ok());
  store_->reads = 0;
  core_.Advance(absl::Seconds(4));
  EXPECT_EQ(store_->reads, 0) << "expired";
  ExpectGone();
  ASSERT_TRUE(core_.Register(Request()).ok());
  store_->reads = 0;
  Deregister();
  EXPECT_EQ(store_->reads, 0) << "deregistered";
  ExpectGone();
}

TEST_F(RemovalTest, ResultsOfChecksGoWithTheInstance) {
  for (const bool expires : {true, false}) {
    ASSERT_TRUE(core_.Register(Request()).ok());
    Report(v1::PASSING);
    if (expires) {
      core_.Advance(absl::Seconds(4));
    } else {
      Deregister();
    }
    ExpectGone();
    ASSERT_TRUE(core_.Register(Request()).ok());
    EXPECT_EQ(core_.View("api")->count(v1::CRITICAL), 1U) << "the next one begins anew";
    Deregister();
  }
}

TEST_F(RemovalTest, ResultsAreKnownOfAfterARegistrationAndARestart) {
  ASSERT_TRUE(core_.Register(Request()).ok());
  Report(v1::PASSING);
  auto changed = Request();
  changed.mutable_instance()->set_port(81);
  ASSERT_TRUE(core_.Register(changed).ok());
  ASSERT_TRUE(HasResult());
  core_.engine.Close();
  CoreStack restarted(clock_, store_);
  restarted.Advance(absl::Seconds(6));
  EXPECT_EQ(restarted.View("api")->size(), 0U);
  EXPECT_FALSE(
      restarted.engine.Get(Family::kChecks, storage::EncodeCheckKey(StoredKey(), "self")).ok());
}

TEST_F(RemovalTest, OneThatCantBeReadHoldsUpNobodyElse) {
  ASSERT_TRUE(core_.Register(Request()).ok());
  Report(v1::PASSING);
  core_.Advance(absl::Milliseconds(500));
  auto other = Request();
  other.mutable_instance()->set_id("b");
  ASSERT_TRUE(core_.Register(other).ok());
  store_->unreadable = StoredKey();
  core_.Advance(absl::Milliseconds(2300));
  EXPECT_EQ(core_.View("api")->size(), 1U);
  EXPECT_EQ(core_.held.size(), 1U);
  EXPECT_NE(core_.leases.Find(StoredKey()), nullptr);
  store_->unreadable.clear();
  core_.Advance(absl::Seconds(62));
  EXPECT_EQ(core_.View("api")->size(), 0U) << "tried again after a minute";
}

// As an older server leaves it that takes reports on what a newer one wrote.
TEST_F(RemovalTest, ALeftoverIsNoResultOfAnInstanceThatNeverReported) {
  ASSERT_TRUE(core_.Register(Request()).ok());
  storage::v1::CheckRecord leftover;
  leftover.set_status(v1::PASSING);
  storage::Batch batch;
  batch.units.emplace_back().ops.push_back(
      storage::Put(Family::kChecks, storage::EncodeCheckKey(StoredKey(), "self"),
                   storage::EncodeValue(leftover.SerializeAsString())));
  core_.engine.Propose(std::move(batch), storage::WriteClass::kUser, [](const auto&) {});
  core_.Run();
  ASSERT_TRUE(HasResult());
  Report(v1::PASSING);
  EXPECT_EQ(core_.View("api")->count(v1::PASSING), 1U);
  Deregister();
  ExpectGone();
}

TEST_F(RemovalTest, AnInstanceThatChangedBeforeItsRemovalIsJudgedStays) {
  ASSERT_TRUE(core_.Register(Request()).ok());
  clock_.Advance(absl::Seconds(1));
  core_.leases.Tick();
  clock_.Advance(absl::Milliseconds(900));
  core_.leases.Tick();
  clock_.Advance(absl::Milliseconds(200));
  core_.leases.Tick();
  auto changed = Request();
  changed.mutable_instance()->set_port(81);
  bool registered = false;
  core_.registry.Register(changed, {}, [&](const auto& result) { registered = result.ok(); });
  store_->reads = 0;
  EXPECT_EQ(core_.registry.ExpireDue(), 1U);
  EXPECT_EQ(core_.registry.removals_under_way(), 1U);
  core_.Run();
  EXPECT_TRUE(registered);
  EXPECT_EQ(core_.registry.removals_under_way(), 0U);
  EXPECT_EQ(store_->reads, 1) << "the second attempt looks";
  EXPECT_EQ(core_.View("api")->size(), 1U);
  EXPECT_NE(core_.leases.Find(StoredKey()), nullptr);
}

void RegisterMany(CoreStack& core, v1::RegisterRequest request, int count) {
  constexpr int kBatch = 1000;
  const uint64_t before = core.catalog.instance_count();
  for (int first = 0; first < count; first += kBatch) {
    v1::BatchRegisterRequest batch;
    for (int i = first; i < std::min(first + kBatch, count); ++i) {
      request.mutable_instance()->set_id(absl::StrCat("i", i));
      *batch.add_requests() = request;
    }
    core.registry.BatchRegister(batch, {}, [](const auto&) {});
    core.Run();
  }
  ASSERT_EQ(core.catalog.instance_count(), before + static_cast<uint64_t>(count));
}

// All of them, and their TTL is over.
void MakeHerd(CoreStack& core, base::FakeClock& clock, const v1::RegisterRequest& request,
              int count) {
  ASSERT_NO_FATAL_FAILURE(RegisterMany(core, request, count));
  for (int tenth = 0; tenth < 25; ++tenth) {
    clock.Advance(absl::Milliseconds(100));
    core.leases.Tick();
  }
}

TEST_F(RemovalTest, AHerdLeavesInTurns) {
  ASSERT_NO_FATAL_FAILURE(MakeHerd(core_, clock_, Request(), 500));
  std::vector<size_t> turns;
  while (core_.catalog.instance_count() > 0) {
    if (turns.size() == 2) clock_.Advance(absl::Milliseconds(5));
    turns.push_back(core_.registry.ExpireDue());
    EXPECT_EQ(core_.registry.ExpireDue(), 0u) << "the rest waits until these are gone";
    core_.Run();
    ASSERT_LT(turns.size(), 20u);
  }
  EXPECT_EQ(turns, (std::vector<size_t>{40, 40, 60, 40, 40, 40, 40, 40, 40, 40, 40, 40}));
}

// Who rests while nothing is removed must not rest then.
TEST_F(RemovalTest, BetweenTwoTurnsItIsStillRemoving) {
  EXPECT_FALSE(core_.registry.is_removing());
  ASSERT_NO_FATAL_FAILURE(MakeHerd(core_, clock_, Request(), 100));
  ASSERT_EQ(core_.registry.ExpireDue(), 40u);
  EXPECT_TRUE(core_.registry.is_removing());
  core_.Run();
  ASSERT_EQ(core_.registry.removals_under_way(), 0u);
  EXPECT_TRUE(core_.registry.is_removing()) << "60 are due";
  while (core_.registry.ExpireDue() > 0) core_.Run();
  EXPECT_EQ(core_.catalog.instance_count(), 0u);
  EXPECT_FALSE(core_.registry.is_removing());
}

// At the least pace it would take three seconds.
TEST_F(RemovalTest, AGreatHerdIsGoneInTime) {
  ASSERT_NO_FATAL_FAILURE(MakeHerd(core_, clock_, Request(), 60'000));
  const absl::Duration took = TimeToGo(absl::ZeroDuration());
  EXPECT_LT(took, absl::Milliseconds(1600));
  EXPECT_GT(took, absl::Milliseconds(1450)) << "no faster than it has to";
}

// When few of the first are left.
TEST_F(RemovalTest, AHerdWithinAnotherGetsTimeOfItsOwn) {
  v1::RegisterRequest later = Request();
  later.mutable_instance()->set_service("later");
  later.mutable_ttl()->set_seconds(3);
  later.mutable_ttl()->set_nanos(900'000'000);
  ASSERT_NO_FATAL_FAILURE(RegisterMany(core_, later, 30'000));
  ASSERT_NO_FATAL_FAILURE(MakeHerd(core_, clock_, Request(), 60'000));
  size_t longest = 0;
  const absl::Duration took = TimeToGo(absl::ZeroDuration(), &longest);
  EXPECT_LT(longest, 150u);
  EXPECT_LT(took, absl::Milliseconds(1400 + 1600));
}

TEST_F(RemovalTest, AHerdThatWasHeldUpMakesUpForIt) {
  ASSERT_NO_FATAL_FAILURE(MakeHerd(core_, clock_, Request(), 60'000));
  EXPECT_LT(TimeToGo(absl::Milliseconds(400)), absl::Milliseconds(1650));
}

}  // namespace
}  // namespace muster::core

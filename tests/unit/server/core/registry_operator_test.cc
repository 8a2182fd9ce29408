// Maintenance of instances and nodes. Settings of services: service_settings_test.cc.
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "base/errors.h"
#include "server/core/delta.h"
#include "server/core/maintenance_change.h"
#include "server/core/registry.h"
#include "server/core/verify.h"
#include "tests/support/core_stack.h"

namespace muster::core {
namespace {

using base::FieldOf;
using base::Reason;
using base::ReasonOf;
using storage::Family;

v1::RegisterRequest Request(const std::string& id, const std::string& node = "n1",
                            char life = 'a') {
  v1::RegisterRequest request;
  v1::Instance* instance = request.mutable_instance();
  instance->set_service("api");
  instance->set_node(node);
  instance->set_id(id);
  instance->set_address("10.0.0.1");
  instance->set_port(80);
  request.set_life_id(std::string(16, life));
  request.mutable_ttl()->set_seconds(30);
  return request;
}

v1::SetMaintenanceRequest OfInstance(const std::string& id, bool on, const std::string& reason = "",
                                     const std::string& node = "n1") {
  v1::SetMaintenanceRequest request;
  request.mutable_key()->set_service("API");
  request.mutable_key()->set_node(node);
  request.mutable_key()->set_id(id);
  request.set_on(on);
  request.set_reason(reason);
  return request;
}

v1::SetMaintenanceRequest OfNode(const std::string& node, bool on, const std::string& reason = "") {
  v1::SetMaintenanceRequest request;
  request.mutable_node()->set_node(node);
  request.set_on(on);
  request.set_reason(reason);
  return request;
}

std::string KeyOf(const std::string& id, const std::string& node = "n1") {
  return storage::EncodeInstanceKey("default", "api", node, id);
}

class MaintenanceTest : public testing::Test {
 protected:
  using Answer = absl::StatusOr<v1::SetMaintenanceResponse>;

  static Answer Set(CoreStack& core, const v1::SetMaintenanceRequest& request) {
    std::optional<Answer> out;
    core.registry.SetMaintenance(request, [&](auto result) { out = std::move(result); });
    core.Run();
    return out ? *out : absl::InternalError("no answer");
  }
  Answer Set(const v1::SetMaintenanceRequest& request) { return Set(core_, request); }
  static v1::State StateIn(const CoreStack& core, const std::string& id,
                           const std::string& node = "n1") {
    const auto view = core.View("api");
    const auto position = view == nullptr ? std::nullopt : view->Find(node, id);
    return position ? position->entry->state : v1::STATE_UNSPECIFIED;
  }
  v1::State State(const std::string& id, const std::string& node = "n1") {
    return StateIn(core_, id, node);
  }
  std::optional<MaintenanceMark> Mark(const std::string& key) {
    const auto value = core_.engine.Get(Family::kNodes, key);
    return value.ok() ? ReadMark(key, *value) : std::nullopt;
  }
  uint64_t Commits() { return core_.engine.Stats().commits; }
  static std::vector<std::string> Problems(CoreStack& core) {
    const auto out = Verify(core.engine, core.catalog, core.leases, [] { return false; });
    EXPECT_TRUE(out.ok()) << out.status();
    return out.ok() ? out->problems : std::vector<std::string>{};
  }
  // Changes the stored record of an instance behind the Registry.
  void Rewrite(const std::string& id,
               const std::function<void(storage::v1::InstanceRecord&)>& change) {
    auto stored = DecodeStored(*core_.engine.Get(Family::kInstances, KeyOf(id)));
    ASSERT_TRUE(stored.ok());
    change(stored->record);
    stored->words.visible_seq = 0;
    storage::Unit unit;
    unit.ops.push_back(storage::Put(
        Family::kInstances, KeyOf(id),
        storage::EncodeInstanceValue(stored->words, stored->record.SerializeAsString())));
    core_.engine.Propose({{std::move(unit)}}, storage::WriteClass::kInternal, [](const auto&) {});
    core_.Run();
  }

  base::FakeClock clock_;
  std::shared_ptr<storage::MemoryStore> store_ = std::make_shared<storage::MemoryStore>();
  CoreStack core_{clock_, store_};
};

TEST_F(MaintenanceTest, AnInstanceLeavesTheAnswersAndComesBack) {
  const auto registered = core_.Register(Request("a"));
  ASSERT_TRUE(core_.Register(Request("b")).ok());
  const auto before = core_.View("api");
  const auto on = Set(OfInstance("a", true, "new disk"));
  ASSERT_TRUE(on.ok()) << on.status();
  EXPECT_EQ(on->revision().epoch(), core_.catalog.revision().epoch);
  EXPECT_EQ(on->revision().seq(), core_.catalog.revision().seq);
  EXPECT_EQ(State("a"), v1::MAINTENANCE);
  EXPECT_EQ(State("b"), v1::ACTIVE);
  const auto delta = Delta(*core_.View("api"), *Selector::Default(), before->seq());
  ASSERT_EQ(delta.removed.size(), 1u) << "a follower is told that it left";
  EXPECT_EQ(delta.removed[0].id, "a");
  EXPECT_EQ(core_.View("api")->default_matches(), 1u);
  EXPECT_EQ(core_.Beat(registered->incarnation), v1::HeartbeatResponse::RENEWED);
  const auto mark = Mark(storage::EncodeNodeInstanceKey("default", "n1", "api", "a"));
  ASSERT_TRUE(mark);
  EXPECT_EQ(mark->reason, "new disk");
  EXPECT_EQ(mark->since_ms, static_cast<uint64_t>(clock_.System().us / 1000));

  const uint64_t away = core_.View("api")->seq();
  ASSERT_TRUE(Set(OfInstance("a", false)).ok());
  EXPECT_EQ(State("a"), v1::ACTIVE);
  EXPECT_EQ(Delta(*core_.View("api"), *Selector::Default(), away).upserted.size(), 1u);
  EXPECT_TRUE(core_.catalog.maintenance().empty());
  EXPECT_FALSE(Mark(storage::EncodeNodeInstanceKey("default", "n1", "api", "a")));
  EXPECT_EQ(core_.View("api")->default_matches(), 2u);
}

TEST_F(MaintenanceTest, ItOutlivesLivesRemovalsAndRestarts) {
  ASSERT_TRUE(core_.Register(Request("a", "n1", 'a')).ok());
  ASSERT_TRUE(Set(OfInstance("a", true)).ok());
  const uint64_t commits = Commits();
  ASSERT_TRUE(core_.Register(Request("a", "n1", 'b')).ok());
  EXPECT_EQ(State("a"), v1::MAINTENANCE) << "another life";
  EXPECT_EQ(Commits() - commits, 1u) << "it was never back in between";
  auto moved = Request("a", "n1", 'b');
  moved.mutable_instance()->set_port(81);
  ASSERT_TRUE(core_.Register(moved).ok());
  EXPECT_EQ(State("a"), v1::MAINTENANCE) << "another content";
  v1::DeregisterRequest gone;
  *gone.mutable_key() = OfInstance("a", true).key();
  ASSERT_TRUE(core_.Deregister(gone).ok());
  EXPECT_EQ(core_.View("api")->size(), 0u);
  ASSERT_TRUE(core_.Register(Request("a", "n1", 'c')).ok());
  EXPECT_EQ(State("a"), v1::MAINTENANCE) << "it came back";
  core_.engine.Close();

  CoreStack restarted(clock_, store_);
  EXPECT_EQ(StateIn(restarted, "a"), v1::MAINTENANCE);
  EXPECT_EQ(restarted.catalog.maintenance().size(), 1u);
  ASSERT_TRUE(restarted.Register(Request("a", "n1", 'd')).ok());
  EXPECT_EQ(StateIn(restarted, "a"), v1::MAINTENANCE);
  ASSERT_TRUE(Set(restarted, OfInstance("a", false)).ok());
  EXPECT_EQ(StateIn(restarted, "a"), v1::ACTIVE);
  EXPECT_TRUE(Problems(restarted).empty());
}

TEST_F(MaintenanceTest, OfWhatIsNotRegisteredItIsKept) {
  ASSERT_TRUE(Set(OfInstance("a", true)).ok());
  EXPECT_EQ(core_.View("api"), nullptr) << "no service begins with it";
  ASSERT_TRUE(core_.Register(Request("a")).ok());
  EXPECT_EQ(State("a"), v1::MAINTENANCE);
  EXPECT_EQ(core_.catalog.maintenance().begun(), 0u) << "nothing had to be put right";
}

TEST_F(MaintenanceTest, WhatIsSoAlreadyIsNotWritten) {
  ASSERT_TRUE(core_.Register(Request("a")).ok());
  uint64_t commits = Commits();
  EXPECT_TRUE(Set(OfInstance("a", false)).ok());
  EXPECT_TRUE(Set(OfInstance("nobody", false)).ok());
  EXPECT_TRUE(Set(OfNode("n1", false)).ok());
  EXPECT_EQ(Commits(), commits);
  ASSERT_TRUE(Set(OfInstance("a", true, "disk")).ok());
  ASSERT_TRUE(Set(OfNode("n1", true, "rack")).ok());
  commits = Commits();
  EXPECT_TRUE(Set(OfInstance("a", true, "disk")).ok());
  EXPECT_TRUE(Set(OfNode("n1", true, "rack")).ok());
  EXPECT_EQ(Commits(), commits);
}

TEST_F(MaintenanceTest, AnotherReasonWakesNobodyAndKeepsItsBeginning) {
  ASSERT_TRUE(core_.Register(Request("a")).ok());
  ASSERT_TRUE(Set(OfInstance("a", true, "disk")).ok());
  ASSERT_TRUE(Set(OfNode("n1", true, "rack")).ok());
  const auto began = static_cast<uint64_t>(clock_.System().us / 1000);
  const auto view = core_.View("api");
  clock_.Advance(absl::Seconds(5));
  ASSERT_TRUE(Set(OfInstance("a", true, "fan")).ok());
  ASSERT_TRUE(Set(OfNode("n1", true, "power")).ok());
  EXPECT_EQ(core_.View("api"), view);
  for (const auto& [key, reason] :
       {std::pair(storage::EncodeNodeInstanceKey("default", "n1", "api", "a"), "fan"),
        std::pair(storage::EncodeNodeKey("default", "n1"), "power")}) {
    const auto mark = Mark(key);
    ASSERT_TRUE(mark);
    EXPECT_EQ(mark->reason, reason);
    EXPECT_EQ(mark->since_ms, began);
  }
}

TEST_F(MaintenanceTest, ANodeTakesItsInstancesAlong) {
  for (int i = 0; i < 600; ++i) {
    auto request = Request(absl::StrCat("i", i));
    request.mutable_instance()->set_service(absl::StrCat("s", i % 7));
    ASSERT_TRUE(core_.Register(request).ok());
  }
  ASSERT_TRUE(core_.Register(Request("a", "n1")).ok());
  ASSERT_TRUE(core_.Register(Request("b", "n2")).ok());
  ASSERT_TRUE(core_.Register(Request("c", "")).ok());
  ASSERT_TRUE(core_.Register(Request("d", "n11")).ok());
  auto elsewhere = Request("e", "n1");
  elsewhere.mutable_instance()->set_namespace_("prod");
  ASSERT_TRUE(core_.Register(elsewhere).ok());
  const uint64_t commits = Commits();
  ASSERT_TRUE(Set(OfNode("n1", true)).ok());
  EXPECT_EQ(Commits() - commits, 602u) << "the node's record, and an instance's each";
  EXPECT_EQ(State("a"), v1::MAINTENANCE);
  EXPECT_EQ(State("b", "n2"), v1::ACTIVE);
  EXPECT_EQ(State("c", ""), v1::ACTIVE);
  EXPECT_EQ(State("d", "n11"), v1::ACTIVE);
  EXPECT_EQ(core_.catalog.Get("prod", "api")->view->inactive(), 0u);
  for (int s = 0; s < 7; ++s) {
    EXPECT_EQ(core_.View(absl::StrCat("s", s))->default_matches(), 0u) << s;
  }
  ASSERT_TRUE(core_.Register(Request("late", "n1")).ok());
  EXPECT_EQ(State("late"), v1::MAINTENANCE);
  EXPECT_TRUE(Problems(core_).empty());

  ASSERT_TRUE(Set(OfNode("n1", false)).ok());
  EXPECT_EQ(State("a"), v1::ACTIVE);
  EXPECT_EQ(State("late"), v1::ACTIVE);
  EXPECT_EQ(core_.View("s0")->inactive(), 0u);
  EXPECT_FALSE(Mark(storage::EncodeNodeKey("default", "n1"))) << "nothing else is in it";
  EXPECT_TRUE(Problems(core_).empty());
}

TEST_F(MaintenanceTest, AnInstanceComesBackWhenNeitherHoldsIt) {
  ASSERT_TRUE(core_.Register(Request("a")).ok());
  ASSERT_TRUE(core_.Register(Request("b")).ok());
  ASSERT_TRUE(Set(OfNode("n1", true)).ok());
  ASSERT_TRUE(Set(OfInstance("a", true)).ok());
  ASSERT_TRUE(Set(OfNode("n1", false)).ok());
  EXPECT_EQ(State("a"), v1::MAINTENANCE);
  EXPECT_EQ(State("b"), v1::ACTIVE);
  ASSERT_TRUE(Set(OfNode("n1", true)).ok());
  ASSERT_TRUE(Set(OfInstance("a", false)).ok());
  EXPECT_EQ(State("a"), v1::MAINTENANCE);
  ASSERT_TRUE(Set(OfNode("n1", false)).ok());
  EXPECT_EQ(State("a"), v1::ACTIVE);
}

// They are looked at 1,024 at a time.
TEST_F(MaintenanceTest, ANodeIsLookedForInEveryService) {
  constexpr int kServices = 2050;
  for (int i = 0; i < kServices; ++i) {
    auto request = Request("a");
    request.mutable_instance()->set_service(absl::StrCat("s", i));
    ASSERT_TRUE(core_.Register(request).ok());
  }
  ASSERT_TRUE(Set(OfNode("n1", true)).ok());
  int away = 0;
  for (int i = 0; i < kServices; ++i) away += core_.View(absl::StrCat("s", i))->inactive();
  EXPECT_EQ(away, kServices);
}

// What else the node's record says stays.
TEST_F(MaintenanceTest, TheRestOfANodesRecordStays) {
  const std::string key = storage::EncodeNodeKey("default", "n1");
  storage::v1::NodeRecord record;
  record.set_address("10.0.0.9");
  storage::Unit unit;
  unit.ops.push_back(
      storage::Put(Family::kNodes, key, storage::EncodeValue(record.SerializeAsString())));
  core_.engine.Propose({{std::move(unit)}}, storage::WriteClass::kInternal, [](const auto&) {});
  core_.Run();
  EXPECT_TRUE(core_.catalog.maintenance().empty());
  ASSERT_TRUE(Set(OfNode("n1", true, "rack")).ok());
  EXPECT_EQ(core_.catalog.maintenance().size(), 1u);
  ASSERT_TRUE(Set(OfNode("n1", false)).ok());
  EXPECT_TRUE(core_.catalog.maintenance().empty());
  storage::v1::NodeRecord after;
  const auto value = core_.engine.Get(Family::kNodes, key);
  ASSERT_TRUE(value.ok());
  ASSERT_TRUE(after.ParseFromString(std::string(storage::DecodeValue(*value)->payload)));
  EXPECT_EQ(after.SerializeAsString(), record.SerializeAsString());
}

TEST_F(MaintenanceTest, DrainingComesBackAndEndsWithTheLife) {
  ASSERT_TRUE(core_.Register(Request("a", "n1", 'a')).ok());
  Rewrite("a", [](auto& record) {
    record.set_state(v1::DRAINING);
    record.set_draining(true);
  });
  ASSERT_TRUE(Set(OfInstance("a", true)).ok());
  EXPECT_EQ(State("a"), v1::MAINTENANCE);
  auto moved = Request("a", "n1", 'a');
  moved.mutable_instance()->set_port(81);
  ASSERT_TRUE(core_.Register(moved).ok());
  EXPECT_EQ(State("a"), v1::MAINTENANCE);
  ASSERT_TRUE(Set(OfInstance("a", false)).ok());
  EXPECT_EQ(State("a"), v1::DRAINING);
  moved.mutable_instance()->set_port(82);
  ASSERT_TRUE(core_.Register(moved).ok());
  EXPECT_EQ(State("a"), v1::DRAINING) << "it is the same life";
  ASSERT_TRUE(core_.Register(Request("a", "n1", 'b')).ok());
  EXPECT_EQ(State("a"), v1::ACTIVE);
  ASSERT_TRUE(Set(OfInstance("a", true)).ok());
  ASSERT_TRUE(Set(OfInstance("a", false)).ok());
  EXPECT_EQ(State("a"), v1::ACTIVE);
}

// Decided before the node's record was there, committed after it.
TEST_F(MaintenanceTest, ARegistrationThatWasOnItsWayIsNotMissed) {
  ASSERT_TRUE(core_.Register(Request("old")).ok());
  std::optional<Answer> marked;
  std::optional<absl::StatusOr<Registered>> registered;
  core_.registry.SetMaintenance(OfNode("n1", true), [&](auto r) { marked = std::move(r); });
  core_.registry.Register(Request("new"), {}, [&](auto r) { registered = std::move(r); });
  EXPECT_TRUE(core_.catalog.maintenance().empty()) << "the registration saw nothing of it";
  core_.Run();
  ASSERT_TRUE(marked && marked->ok());
  ASSERT_TRUE(registered && registered->ok());
  EXPECT_EQ(State("old"), v1::MAINTENANCE);
  EXPECT_EQ(State("new"), v1::MAINTENANCE);
  EXPECT_TRUE(Problems(core_).empty());

  std::optional<Answer> ended;
  core_.registry.SetMaintenance(OfNode("n1", false), [&](auto r) { ended = std::move(r); });
  core_.registry.Register(Request("newer"), {}, [](const auto&) {});
  core_.Run();
  ASSERT_TRUE(ended && ended->ok());
  for (const char* id : {"old", "new", "newer"}) EXPECT_EQ(State(id), v1::ACTIVE) << id;
  EXPECT_EQ(core_.catalog.maintenance().begun(), core_.catalog.maintenance().ended());
}

// The same when the node's instances had been written already.
TEST_F(MaintenanceTest, WhatContradictsIsPutRightBehindTheNextRegistration) {
  ASSERT_TRUE(core_.Register(Request("a")).ok());
  ASSERT_TRUE(Set(OfNode("n1", true)).ok());
  Rewrite("a", [](auto& record) { record.set_state(v1::ACTIVE); });
  EXPECT_EQ(State("a"), v1::ACTIVE);
  EXPECT_TRUE(Problems(core_).empty()) << "it is known, and will be seen to";
  ASSERT_TRUE(core_.Register(Request("other", "n2")).ok());
  EXPECT_EQ(State("a"), v1::MAINTENANCE);
  EXPECT_EQ(State("other", "n2"), v1::ACTIVE);
  EXPECT_EQ(core_.catalog.maintenance().begun(), core_.catalog.maintenance().ended());
}

// Two threads register all the time while the node goes and comes.
TEST(MaintenanceUnderLoadTest, InTheEndEveryStateIsRight) {
  constexpr int kIds = 200;
  constexpr int kUnderWay = 100;
  base::SystemRng rng;
  Catalog catalog;
  WatchHub hub;
  LeaseTable leases(base::RealClock(), rng, {});
  HeldSet held(catalog, leases, hub, base::RealClock());
  Applier applier(catalog, leases, hub);
  storage::MemoryEngine engine({.clock = base::RealClock(), .rng = rng});
  Registry registry(engine, catalog, leases, held, base::RealClock(), {});
  ASSERT_TRUE(engine.Open({&applier}).ok());
  leases.SetLoaded();
  std::atomic<bool> stop{false};
  std::atomic<int> under_way{0};
  std::vector<std::thread> writers;
  for (const char* who : {"x", "y"}) {
    writers.emplace_back([&, who] {
      for (int i = 0; !stop; ++i) {
        while (under_way > kUnderWay) std::this_thread::yield();
        auto request = Request(absl::StrCat(who, i % kIds));
        request.mutable_instance()->set_port(static_cast<uint32_t>(1 + i % 60'000));
        ++under_way;
        registry.Register(std::move(request), {}, [&](const auto& result) {
          EXPECT_TRUE(result.ok()) << result.status();
          --under_way;
        });
      }
    });
  }
  for (int turn = 1; turn <= 41; ++turn) {
    absl::Notification done;
    registry.SetMaintenance(OfNode("n1", turn % 2 == 1), [&](const auto& result) {
      EXPECT_TRUE(result.ok()) << result.status();
      done.Notify();
    });
    done.WaitForNotification();
  }
  stop = true;
  for (std::thread& writer : writers) writer.join();
  // What was left to be put right goes on behind the answers, and with upkeep.
  const MaintenanceSet& marks = catalog.maintenance();
  while (under_way > 0 || marks.begun() != marks.ended()) {
    registry.MaintainPart();
    std::this_thread::yield();
  }
  const auto view = catalog.Get("default", "api")->view;
  EXPECT_GT(view->size(), 0u);
  EXPECT_EQ(view->inactive(), view->size());
  const auto found = Verify(engine, catalog, leases, [] { return false; });
  ASSERT_TRUE(found.ok());
  for (const std::string& problem : found->problems) ADD_FAILURE() << problem;
  engine.Close();
}

// The same of one instance, where turns see to it.
TEST_F(MaintenanceTest, OfOneInstanceItWaitsForItsTurn) {
  std::optional<Answer> marked;
  core_.registry.Register(Request("a"), {}, [](const auto&) {});
  core_.registry.SetMaintenance(OfInstance("a", true), [&](auto r) { marked = std::move(r); });
  core_.registry.Register(Request("a", "n1", 'b'), {}, [](const auto&) {});
  core_.Run();
  ASSERT_TRUE(marked && marked->ok());
  EXPECT_EQ(State("a"), v1::MAINTENANCE);
  EXPECT_FALSE(core_.catalog.maintenance().has_strays());
}

// The process ended between the node's record and its instances'.
TEST_F(MaintenanceTest, AStartFinishesWhatWasBegun) {
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(core_.Register(Request(absl::StrCat("i", i))).ok());
  ASSERT_TRUE(core_.Register(Request("other", "n2")).ok());
  storage::v1::NodeRecord record;
  record.set_maintenance(true);
  storage::Unit unit;
  unit.ops.push_back(storage::Put(Family::kNodes, storage::EncodeNodeKey("default", "n1"),
                                  storage::EncodeValue(record.SerializeAsString())));
  core_.engine.Propose({{std::move(unit)}}, storage::WriteClass::kInternal, [](const auto&) {});
  core_.Run();
  EXPECT_EQ(State("i0"), v1::ACTIVE);
  core_.engine.Close();

  CoreStack restarted(clock_, store_);
  EXPECT_TRUE(Problems(restarted).empty()) << "it is being seen to";
  restarted.registry.MaintainPart();
  restarted.Run();
  for (int i = 0; i < 300; ++i) {
    ASSERT_EQ(StateIn(restarted, absl::StrCat("i", i)), v1::MAINTENANCE) << i;
  }
  EXPECT_EQ(StateIn(restarted, "other", "n2"), v1::ACTIVE);
  EXPECT_EQ(restarted.catalog.maintenance().begun(), restarted.catalog.maintenance().ended());
  EXPECT_TRUE(Problems(restarted).empty());
}

// And the other way round.
TEST_F(MaintenanceTest, AStartLetsBackInWhatNoRecordHolds) {
  ASSERT_TRUE(core_.Register(Request("a")).ok());
  ASSERT_TRUE(core_.Register(Request("b")).ok());
  Rewrite("a", [](auto& record) { record.set_state(v1::MAINTENANCE); });
  core_.engine.Close();
  CoreStack restarted(clock_, store_);
  const uint64_t commits = restarted.engine.Stats().commits;
  restarted.registry.MaintainPart();
  restarted.Run();
  EXPECT_EQ(StateIn(restarted, "a"), v1::ACTIVE);
  EXPECT_EQ(restarted.engine.Stats().commits - commits, 1u);
}

// Takes so many groups, then no more.
class BreakingStore : public storage::MemoryStore {
 public:
  absl::Status Write(absl::Span<const storage::Commit> commits) override {
    if (groups_left-- <= 0) FailWrites(absl::DataLossError("broken"));
    return MemoryStore::Write(commits);
  }
  int groups_left = 1'000'000;
};

TEST(MaintenanceOfABrokenStoreTest, TheCallFailsAndAStartFinishesIt) {
  base::FakeClock clock;
  const auto store = std::make_shared<BreakingStore>();
  CoreStack core(clock, store);
  for (const char* id : {"a", "b"}) ASSERT_TRUE(core.Register(Request(id)).ok());
  store->groups_left = 1;  // the node's record
  absl::Status marked;
  core.registry.SetMaintenance(OfNode("n1", true), [&](auto r) { marked = r.status(); });
  core.Run();
  EXPECT_EQ(ReasonOf(marked), Reason::kOutcomeUnknown) << marked;
  const MaintenanceSet& marks = core.catalog.maintenance();
  EXPECT_EQ(marks.size(), 1u);
  EXPECT_EQ(marks.begun() - marks.ended(), 2u) << "its instances are still to be written";
  store->FailWrites(absl::OkStatus());
  store->groups_left = 1'000'000;
  core.engine.Close();

  CoreStack restarted(clock, store);
  restarted.registry.MaintainPart();
  restarted.Run();
  EXPECT_EQ(restarted.View("api")->default_matches(), 0u);
  EXPECT_EQ(restarted.View("api")->inactive(), 2u);
}

TEST_F(MaintenanceTest, AStrayWaitsWhileTheStoreRefuses) {
  ASSERT_TRUE(core_.Register(Request("a")).ok());
  Rewrite("a", [](auto& record) { record.set_state(v1::MAINTENANCE); });
  ASSERT_TRUE(core_.catalog.maintenance().has_strays());
  store_->FailWrites(absl::DataLossError("broken"));
  core_.registry.MaintainPart();
  core_.Run();
  EXPECT_TRUE(core_.catalog.maintenance().has_strays()) << "it is not forgotten";
  const uint64_t begun = core_.catalog.maintenance().begun();
  for (int i = 0; i < 9; ++i) {
    clock_.Advance(absl::Milliseconds(100));
    core_.registry.MaintainPart();
    core_.Run();
  }
  EXPECT_EQ(core_.catalog.maintenance().begun(), begun) << "once a second";
  clock_.Advance(absl::Milliseconds(200));
  core_.registry.MaintainPart();
  core_.Run();
  EXPECT_EQ(core_.catalog.maintenance().begun(), begun + 1);
}

TEST_F(MaintenanceTest, AReportLeavesTheState) {
  auto request = Request("a");
  auto* check = request.mutable_instance()->add_checks();
  check->set_id("c");
  check->mutable_ttl()->mutable_ttl()->set_seconds(30);
  ASSERT_TRUE(core_.Register(request).ok());
  ASSERT_TRUE(Set(OfInstance("a", true)).ok());
  v1::ReportHealthRequest report;
  *report.mutable_key() = OfInstance("a", true).key();
  report.set_status(v1::PASSING);
  ASSERT_TRUE(core_.Report(report).ok());
  EXPECT_EQ(State("a"), v1::MAINTENANCE);
  EXPECT_EQ(core_.View("api")->Find("n1", "a")->entry->health, v1::PASSING);
  ASSERT_TRUE(Set(OfInstance("a", false)).ok());
  EXPECT_EQ(core_.View("api")->default_matches(), 1u) << "with the health that it got meanwhile";
}

TEST_F(MaintenanceTest, TheLeaseOfWhatIsInMaintenanceRunsOut) {
  ASSERT_TRUE(core_.Register(Request("a")).ok());
  core_.Advance(absl::Seconds(20));
  ASSERT_TRUE(Set(OfNode("n1", true)).ok());
  core_.Advance(absl::Seconds(9));
  EXPECT_EQ(core_.View("api")->size(), 1u);
  core_.Advance(absl::Milliseconds(1300));
  EXPECT_EQ(core_.View("api")->size(), 0u) << "an operator's word is no sign of life";
}

TEST_F(MaintenanceTest, ThereIsALimit) {
  core_.engine.Close();
  CoreStack core(clock_, store_, {.max_maintenance = 2});
  ASSERT_TRUE(Set(core, OfInstance("a", true)).ok());
  ASSERT_TRUE(Set(core, OfNode("n1", true)).ok());
  const auto third = Set(core, OfInstance("b", true));
  EXPECT_EQ(third.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(third.status()), Reason::kLimitInstances);
  EXPECT_EQ(third.status().message(),
            "the server keeps at most 2 instances and nodes in maintenance; end some first");
  EXPECT_TRUE(Set(core, OfInstance("a", true, "another reason")).ok()) << "it is one of them";
  ASSERT_TRUE(Set(core, OfInstance("a", false)).ok());
  EXPECT_TRUE(Set(core, OfInstance("b", true)).ok());
}

TEST_F(MaintenanceTest, BadRequestsNameTheField) {
  const auto field = [this](v1::SetMaintenanceRequest request) {
    const auto answer = Set(request);
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kInvalidArgument);
    return FieldOf(answer.status());
  };
  v1::SetMaintenanceRequest none;
  none.set_on(true);
  EXPECT_EQ(field(none), "target");
  EXPECT_EQ(field(OfInstance("", true)), "key.id");
  EXPECT_EQ(field(OfNode("", true)), "node.node");
  EXPECT_EQ(field(OfNode(std::string(256, 'n'), true)), "node.node");
  EXPECT_EQ(field(OfNode("a\nb", true)), "node.node");
  EXPECT_EQ(field(OfNode("n1", true, std::string(513, 'r'))), "reason");
  EXPECT_EQ(field(OfInstance("a", true, "a\x1b[2J")), "reason");
  EXPECT_EQ(field(OfInstance("a", false, "\xff")), "reason");
  auto request = OfNode("n1", true);
  request.mutable_node()->set_namespace_("a b");
  EXPECT_EQ(field(request), "node.namespace");
  EXPECT_TRUE(core_.catalog.maintenance().empty());
  EXPECT_TRUE(Set(OfNode(std::string(255, 'n'), true, std::string(512, 'r'))).ok());
}

}  // namespace
}  // namespace muster::core

#include "server/core/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/thread.h"
#include "tests/support/core_stack.h"

namespace muster::core {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

v1::RegisterRequest Request(const std::string& service, const std::string& id, uint32_t port = 80) {
  v1::RegisterRequest request;
  request.mutable_instance()->set_service(service);
  request.mutable_instance()->set_node("n1");
  request.mutable_instance()->set_id(id);
  request.mutable_instance()->set_address("10.0.0.1");
  request.mutable_instance()->set_port(port);
  request.set_life_id(std::string(16, 'a'));
  return request;
}

v1::DeregisterRequest Removal(const std::string& service, const std::string& id) {
  v1::DeregisterRequest request;
  request.mutable_key()->set_service(service);
  request.mutable_key()->set_node("n1");
  request.mutable_key()->set_id(id);
  return request;
}

class VerifyTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* id : {"a", "b", "c"}) ASSERT_TRUE(core_.Register(Request("api", id)).ok());
    ASSERT_TRUE(core_.Register(Request("db", "a")).ok());
  }
  Verification Run() {
    auto out =
        Verify(core_.engine, core_.catalog, core_.leases, [this] { return cancelled_.load(); });
    EXPECT_TRUE(out.ok()) << out.status();
    return out.ok() ? *out : Verification{};
  }
  static std::string Definition(const std::string& id) {
    v1::Endpoint endpoint;
    endpoint.set_node("n1");
    endpoint.set_id(id);
    return endpoint.SerializeAsString();
  }
  // Publishes the service's view with `change` made to it behind the store's back.
  template <typename F>
  void Plant(const std::string& service, F change) {
    ServiceInfo info = *core_.catalog.Get("default", service);
    ViewBuilder view(info.view);
    change(view);
    info.view = view.Build();
    core_.catalog.Publish(std::move(info));
  }
  LeaseSpec SpecOf(const std::string& service, const std::string& id) {
    const auto key = storage::EncodeInstanceKey("default", service, "n1", id);
    return core_.leases.Find(key)->spec();
  }

  base::FakeClock clock_;
  CoreStack core_{clock_};
  std::atomic<bool> cancelled_{false};
};

TEST_F(VerifyTest, FindsNothingInASoundServer) {
  const Verification out = Run();
  EXPECT_THAT(out.problems, IsEmpty());
  EXPECT_EQ(out.services, 2u);
  EXPECT_EQ(out.instances, 4u);
  EXPECT_EQ(out.leases, 4u);
  EXPECT_EQ(out.revision, core_.engine.revision());
}

TEST_F(VerifyTest, RemovalsReturnsAndUpkeepAreNoDifference) {
  ASSERT_TRUE(core_.Deregister(Removal("api", "a")).ok());
  ASSERT_TRUE(core_.Register(Request("api", "a")).ok()) << "its old removal stays in the view only";
  ASSERT_TRUE(core_.Deregister(Removal("api", "a")).ok());
  ASSERT_TRUE(core_.Deregister(Removal("api", "b")).ok());
  ASSERT_TRUE(core_.Deregister(Removal("db", "a")).ok());
  EXPECT_THAT(Run().problems, IsEmpty());
  core_.Advance(absl::Hours(2));  // everyone expires; removals are pruned
  core_.registry.Maintain();
  core_.Run();
  EXPECT_THAT(Run().problems, IsEmpty());
  core_.clock.Advance(absl::Hours(48));
  core_.registry.Maintain();
  core_.Run();
  core_.registry.Maintain();
  core_.Run();
  EXPECT_EQ(core_.catalog.service_count(), 0u);
  EXPECT_THAT(Run().problems, IsEmpty());
}

TEST_F(VerifyTest, FindsStatesThatContradictMaintenance) {
  // The node's record, behind the Registry: nobody writes its instances.
  storage::v1::NodeRecord record;
  record.set_maintenance(true);
  storage::Unit unit;
  unit.ops.push_back(storage::Put(storage::Family::kNodes, storage::EncodeNodeKey("default", "n1"),
                                  storage::EncodeValue(record.SerializeAsString())));
  core_.engine.Propose({{std::move(unit)}}, storage::WriteClass::kInternal, [](const auto&) {});
  core_.Run();
  const auto problems = Run().problems;
  EXPECT_EQ(problems.size(), 4u);
  EXPECT_THAT(problems, testing::Contains(HasSubstr("\"api\" of namespace \"default\": instance "
                                                    "\"b\" on node \"n1\" is stored as ACTIVE")));
}

TEST_F(VerifyTest, FindsMaintenanceThatOneOfTheTwoLacks) {
  v1::SetMaintenanceRequest request;
  request.mutable_node()->set_node("n2");
  request.set_on(true);
  core_.registry.SetMaintenance(request, [](const auto&) {});
  core_.Run();
  EXPECT_THAT(Run().problems, IsEmpty());
  core_.catalog.maintenance().Erase(storage::EncodeNodeKey("default", "n2"));
  EXPECT_THAT(Run().problems,
              testing::ElementsAre("maintenance of node \"n2\" is stored and not served"));
  const std::string value =
      *core_.engine.Get(storage::Family::kNodes, storage::EncodeNodeKey("default", "n2"));
  core_.catalog.maintenance().Put(storage::EncodeNodeKey("default", "n2"), value);
  storage::v1::MaintenanceRecord ghost;
  core_.catalog.maintenance().Put(storage::EncodeNodeInstanceKey("default", "n3", "api", "x"),
                                  storage::EncodeValue(ghost.SerializeAsString()));
  EXPECT_THAT(Run().problems, testing::ElementsAre("maintenance of instance \"x\" of service "
                                                   "\"api\" is served and not stored"));
}

TEST_F(VerifyTest, FindsSettingsThatAreNotThoseOfTheStore) {
  ServiceInfo info = *core_.catalog.Get("default", "api");
  auto identity = std::make_shared<ServiceIdentity>(*info.identity);
  v1::ServiceSettings settings;
  settings.set_panic(true);
  identity->settings = KeptSettings(settings);
  info.identity = std::move(identity);
  core_.catalog.Publish(std::move(info));
  EXPECT_THAT(Run().problems,
              testing::ElementsAre(HasSubstr("its settings are not served as they are stored")));
}

TEST_F(VerifyTest, FindsAnEndpointThatTheViewLacks) {
  // The removal is older than the snapshot: nothing explains it.
  Plant("api", [](ViewBuilder& view) { view.Remove("n1", "b", 1); });
  EXPECT_THAT(
      Run().problems,
      testing::Contains(HasSubstr("instance \"b\" on node \"n1\" is stored and not served")));
}

TEST_F(VerifyTest, FindsAnEndpointThatTheStoreLacks) {
  Plant("api", [](ViewBuilder& view) {
    const std::string definition = Definition("x");
    view.Upsert({.node = "n1", .id = "x", .definition = definition, .seq = 1});
  });
  EXPECT_THAT(
      Run().problems,
      testing::Contains(HasSubstr("instance \"x\" on node \"n1\" is served and not stored")));
}

TEST_F(VerifyTest, FindsAnEndpointOfOtherContentOrRevision) {
  Plant("api", [](ViewBuilder& view) {
    const std::string definition = Definition("b");
    view.Upsert({.node = "n1", .id = "b", .definition = definition, .seq = 1});
  });
  EXPECT_THAT(Run().problems, testing::Contains(HasSubstr("instance \"b\" on node \"n1\" is served "
                                                          "as of revision 1 and differs")));
}

TEST_F(VerifyTest, FindsAServiceThatIsNotServed) {
  core_.catalog.Forget(storage::EncodeServiceKey("default", "db"));
  EXPECT_THAT(Run().problems,
              ElementsAre("service \"db\" of namespace \"default\": it is stored and not served"));
}

TEST_F(VerifyTest, FindsAServiceThatIsNotStored) {
  ServiceInfo info = *core_.catalog.Get("default", "db");
  auto ghost = std::make_shared<ServiceIdentity>(*info.identity);
  ghost->service = "ghost";
  info.identity = std::move(ghost);
  core_.catalog.Publish(std::move(info));
  EXPECT_THAT(Run().problems,
              ElementsAre(AllOf(HasSubstr("\"ghost\""), HasSubstr("served and not stored"))));
}

TEST_F(VerifyTest, FindsALeaseWithoutInstanceAndAnInstanceWithoutLease) {
  LeaseSpec spec = SpecOf("db", "a");
  core_.leases.Erase(spec.key);
  spec.key = storage::EncodeInstanceKey("default", "api", "n1", "nobody");
  core_.leases.Put(spec);
  EXPECT_THAT(Run().problems,
              ElementsAre(HasSubstr("a lease for instance \"nobody\" on node \"n1\""),
                          HasSubstr("instance \"a\" on node \"n1\" has no lease")));
}

TEST_F(VerifyTest, FindsALeaseOfAnotherLife) {
  LeaseSpec spec = SpecOf("db", "a");
  spec.incarnation += 1;
  core_.leases.Put(spec);
  EXPECT_THAT(Run().problems, ElementsAre(HasSubstr("has a lease of revision")));
}

TEST_F(VerifyTest, FindsATombstoneThatTheStoreLacks) {
  Plant("api", [](ViewBuilder& view) { view.AddTombstone("n1", "gone", 1); });
  EXPECT_THAT(Run().problems, ElementsAre(HasSubstr("the removal of instance \"gone\"")));
}

TEST_F(VerifyTest, TellsAtMostAHundred) {
  for (int i = 0; i < 150; ++i) {
    LeaseSpec spec = SpecOf("db", "a");
    spec.key = storage::EncodeInstanceKey("default", "api", "n1", absl::StrCat("x", i));
    core_.leases.Put(spec);
  }
  EXPECT_EQ(Run().problems.size(), kMaxVerifyProblems);
}

TEST_F(VerifyTest, StopsWhenCancelled) {
  cancelled_ = true;
  EXPECT_TRUE(absl::IsCancelled(
      Verify(core_.engine, core_.catalog, core_.leases, [] { return true; }).status()));
}

// Writes that go on are never taken for differences.
TEST(Verify, IsRightWhileWritesGoOn) {
  base::SeededRng rng(7);
  Catalog catalog;
  WatchHub hub;
  LeaseTable leases(base::RealClock(), rng, {});
  HeldSet held(catalog, leases, hub, base::RealClock());
  Applier applier(catalog, leases, hub);
  storage::MemoryEngine engine({.clock = base::RealClock(), .rng = rng});
  Registry registry(engine, catalog, leases, held, base::RealClock(),
                    {.tombstones_per_service = 2, .tombstone_age = absl::ZeroDuration()});
  ASSERT_TRUE(engine.Open({&applier}).ok());
  leases.SetLoaded();
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> writes{0};
  base::NamedThread writer("writer", [&] {
    base::SeededRng random(3);
    while (!stop) {
      const std::string service = absl::StrCat("s", random.Uniform(3));
      const std::string id = absl::StrCat("i", random.Uniform(20));
      const auto port = static_cast<uint32_t>(random.Uniform(3));
      const auto count = [&](const auto&) { ++writes; };
      if (random.Uniform(3) == 0) {
        registry.Deregister(Removal(service, id), count);
      } else {
        registry.Register(Request(service, id, port), {}, count);
      }
      if (random.Uniform(50) == 0) registry.Maintain();
    }
  });
  while (writes < 100) std::this_thread::yield();
  uint64_t last = 0;
  // Ends by the writes, not by the rounds, which may all fall between two of them.
  for (int i = 0; i < 50 || writes < 5000; ++i) {
    const auto out = Verify(engine, catalog, leases, [] { return false; });
    ASSERT_TRUE(out.ok()) << out.status();
    EXPECT_THAT(out->problems, IsEmpty());
    EXPECT_GE(out->revision.seq, last);
    last = out->revision.seq;
  }
  stop = true;
  writer.Join();
  engine.Close();
}

}  // namespace
}  // namespace muster::core

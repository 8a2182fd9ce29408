#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/log.h"
#include "server/core/registry.h"
#include "tests/support/core_stack.h"
#include "tests/support/counting_store.h"

namespace muster::core {
namespace {

class UpkeepTest : public testing::Test {
 protected:
  static v1::RegisterRequest Request(const std::string& service, const std::string& id) {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service(service);
    request.mutable_instance()->set_id(id);
    request.mutable_instance()->set_address("10.0.0.1");
    request.mutable_instance()->set_port(80);
    return request;
  }
  static void ComeAndGo(CoreStack& core, const std::string& service, const std::string& id) {
    const auto registered = core.Register(Request(service, id));
    ASSERT_TRUE(registered.ok()) << registered.status();
    v1::DeregisterRequest remove;
    *remove.mutable_key() = ToProto(
        {registered->key.ns, registered->key.service, registered->key.node, registered->key.id});
    ASSERT_TRUE(core.Deregister(remove).ok());
  }
  // s0, s1, …
  void ComeAndGoInEach(int services) {
    for (int i = 0; i < services; ++i) ComeAndGo(core_, absl::StrCat("s", i), "a");
  }
  // Returns how many units it proposed; they are settled.
  uint64_t Part() {
    core_.registry.MaintainPart();
    const uint64_t proposed = core_.engine.Stats().queue_used;
    core_.Run();
    return proposed;
  }

  base::FakeClock clock_;
  std::shared_ptr<test::CountingStore> store_ = std::make_shared<test::CountingStore>();
  CoreStack core_{clock_, store_};
};

TEST_F(UpkeepTest, OldDeletionsAndEmptyServicesAreForgotten) {
  ComeAndGo(core_, "api", "a");
  core_.registry.Maintain();
  core_.Run();
  EXPECT_EQ(core_.View("api")->tombstone_count(), 1u) << "too young";
  clock_.Advance(absl::Hours(25));
  core_.registry.Maintain();
  core_.Run();
  EXPECT_EQ(core_.View("api")->tombstone_count(), 0u);
  EXPECT_GT(core_.View("api")->floor(), 0u);
  core_.registry.Maintain();
  core_.Run();
  EXPECT_EQ(core_.View("api"), nullptr);
  EXPECT_GT(core_.catalog.forgotten_seq(), 0u);
  ASSERT_TRUE(core_.Register(Request("api", "a")).ok());
  EXPECT_EQ(core_.View("api")->floor(), core_.catalog.forgotten_seq());
}

TEST_F(UpkeepTest, ManyDeletionsRaiseTheFloor) {
  RegistryOptions options;
  options.tombstones_per_service = 10;
  core_.engine.Close();
  CoreStack core(clock_, store_, options);
  for (int i = 0; i < 40; ++i) ComeAndGo(core, "api", absl::StrCat("i", i));
  core.registry.Maintain();
  core.Run();
  EXPECT_EQ(core.View("api")->tombstone_count(), 10u);
  EXPECT_GT(core.View("api")->floor(), 0u);
}

TEST_F(UpkeepTest, DeletionsOfWhatCameBackGoWithoutReadingThem) {
  for (int i = 0; i < 20; ++i) ComeAndGo(core_, "api", absl::StrCat("i", i));
  for (int i = 0; i < 19; ++i) {
    ASSERT_TRUE(core_.Register(Request("api", absl::StrCat("i", i))).ok());
  }
  EXPECT_EQ(core_.View("api")->tombstone_count(), 20u);
  store_->reads = 0;
  EXPECT_EQ(Part(), 1u);
  EXPECT_EQ(store_->reads, 2) << "the tombstone that counts and the service's record";
  EXPECT_EQ(core_.View("api")->tombstone_count(), 1u);
}

TEST_F(UpkeepTest, LetsAHerdGoFirstForAWhile) {
  ComeAndGo(core_, "api", "a");
  clock_.Advance(absl::Hours(24) - absl::Seconds(5));
  core_.leases.Tick();
  v1::RegisterRequest request = Request("herd", "");
  request.mutable_ttl()->set_seconds(10);
  for (int i = 0; i < 1000; ++i) {
    request.mutable_instance()->set_id(absl::StrCat("i", i));
    ASSERT_TRUE(core_.Register(request).ok());
  }
  EXPECT_EQ(Part(), 0u) << "too young";
  for (int second = 0; second < 11; ++second) {
    clock_.Advance(absl::Seconds(1));
    core_.leases.Tick();
    if (second < 9) {
      EXPECT_EQ(Part(), 0u) << "not yet";
    }
  }
  ASSERT_GT(core_.registry.ExpireDue(), 0u);
  core_.Run();
  EXPECT_EQ(Part(), 0u) << "the herd goes first";
  EXPECT_EQ(core_.View("api")->tombstone_count(), 1u);
  // It stays: nobody asks for its next turn.
  clock_.Advance(absl::Seconds(11));
  EXPECT_GT(Part(), 0u);
  EXPECT_EQ(core_.View("api")->tombstone_count(), 0u);
}

// However much there is to forget, each part holds up the other writes for a moment only.
TEST_F(UpkeepTest, ComesInParts) {
  constexpr int kServices = 200;
  constexpr int kOfOneService = 600;
  constexpr uint64_t kPart = kServices / 64 + 1;
  ComeAndGoInEach(kServices);
  for (int i = 0; i < kOfOneService; ++i) ComeAndGo(core_, "s0", absl::StrCat("b", i));
  clock_.Advance(absl::Hours(25));
  for (uint64_t part = 0; part < kServices / kPart; ++part) EXPECT_EQ(Part(), kPart);
  EXPECT_EQ(core_.catalog.tombstone_count(), uint64_t{kOfOneService + 1 - 256});
  // It alone needs more: once a part, since the next looks at what this one led to.
  EXPECT_EQ(Part(), 1u);
  EXPECT_EQ(core_.catalog.tombstone_count(), uint64_t{kOfOneService + 1 - 512});
  EXPECT_EQ(Part(), 1u);
  EXPECT_EQ(core_.catalog.tombstone_count(), 0u);
  EXPECT_EQ(Part(), 0u);
}

// More services than are listed in one go.
TEST_F(UpkeepTest, LooksAtAllServices) {
  constexpr int kServices = 2100;
  ComeAndGoInEach(kServices);
  clock_.Advance(absl::Hours(25));
  core_.registry.Maintain();
  core_.Run();
  EXPECT_EQ(core_.catalog.tombstone_count(), 0u);
  core_.registry.Maintain();
  core_.Run();
  EXPECT_EQ(core_.catalog.service_count(), 0u);
}

// Not before its time, and then all of it.
TEST_F(UpkeepTest, IsLookedForEveryTenSeconds) {
  EXPECT_EQ(Part(), 0u);
  ComeAndGo(core_, "api", "a");
  clock_.Advance(absl::Hours(25));
  EXPECT_EQ(Part(), 1u);
  EXPECT_EQ(core_.View("api")->tombstone_count(), 0u);
  clock_.Advance(absl::Seconds(9));
  EXPECT_EQ(Part(), 0u);
  EXPECT_NE(core_.View("api"), nullptr);
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Part(), 1u);
  EXPECT_EQ(core_.View("api"), nullptr);
}

TEST_F(UpkeepTest, RestsWhenTheStoreRefuses) {
  ComeAndGoInEach(200);
  clock_.Advance(absl::Hours(25));
  int logged = 0;
  base::SetLogSink(
      [&](base::LogLevel, std::string_view, absl::Span<const base::LogField>) { ++logged; });
  store_->FailWrites(
      base::MakeError(absl::StatusCode::kUnavailable, base::Reason::kStorageFull, "no space"));
  EXPECT_EQ(Part(), 4u);
  EXPECT_EQ(logged, 1);
  EXPECT_EQ(Part(), 0u);
  store_->FailWrites(absl::OkStatus());
  clock_.Advance(absl::Seconds(9));
  EXPECT_EQ(Part(), 0u);
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Part(), 4u);
  base::SetLogSink(nullptr);
  EXPECT_EQ(logged, 1);
  EXPECT_EQ(core_.catalog.tombstone_count(), 196u);
}

}  // namespace
}  // namespace muster::core

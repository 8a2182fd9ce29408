#include "server/core/service_settings.h"

#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "server/core/registry.h"
#include "server/core/verify.h"
#include "tests/support/core_stack.h"

namespace muster::core {
namespace {

using base::FieldOf;
using base::Reason;
using base::ReasonOf;

v1::RegisterRequest Request(const std::string& id, bool ttl = false) {
  v1::RegisterRequest request;
  request.mutable_instance()->set_service("api");
  request.mutable_instance()->set_id(id);
  request.mutable_instance()->set_address("10.0.0.1");
  request.set_life_id(std::string(16, 'a'));
  if (ttl) request.mutable_ttl()->set_seconds(7);
  return request;
}

v1::SetServiceSettingsRequest Settings(const std::string& service = "API") {
  v1::SetServiceSettingsRequest request;
  request.set_service(service);
  return request;
}

v1::SetServiceSettingsRequest WithTtl(int64_t seconds) {
  auto request = Settings();
  request.mutable_settings()->mutable_default_ttl()->set_seconds(seconds);
  return request;
}

class ServiceSettingsTest : public testing::Test {
 protected:
  using Answer = absl::StatusOr<v1::SetServiceSettingsResponse>;

  static Answer Set(CoreStack& core, const v1::SetServiceSettingsRequest& request) {
    std::optional<Answer> out;
    core.registry.SetServiceSettings(request, [&](auto result) { out = std::move(result); });
    core.Run();
    return out ? *out : absl::InternalError("no answer");
  }
  Answer Set(const v1::SetServiceSettingsRequest& request) { return Set(core_, request); }
  static SettingsPtr Of(const CoreStack& core) {
    return core.catalog.SettingsOf(storage::EncodeServiceKey("default", "api"));
  }
  uint64_t Commits() { return core_.engine.Stats().commits; }

  base::FakeClock clock_;
  std::shared_ptr<storage::MemoryStore> store_ = std::make_shared<storage::MemoryStore>();
  CoreStack core_{clock_, store_};
};

TEST_F(ServiceSettingsTest, TheyReplaceThoseBefore) {
  ASSERT_TRUE(core_.Register(Request("a")).ok());
  const auto view = core_.View("api");
  auto request = Settings();
  request.mutable_settings()->set_panic(false);
  request.mutable_settings()->set_brake_share(0.5);
  const auto answer = Set(request);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->revision().seq(), core_.catalog.revision().seq);
  ASSERT_NE(Of(core_), nullptr);
  EXPECT_TRUE(Of(core_)->has_panic());
  EXPECT_EQ(Of(core_)->brake_share(), 0.5);
  EXPECT_EQ(core_.View("api")->seq(), view->seq()) << "nobody sees a difference";
  EXPECT_EQ(core_.catalog.settings_count(), 1u);

  const uint64_t commits = Commits();
  EXPECT_TRUE(Set(request).ok());
  EXPECT_EQ(Commits(), commits) << "they are so";
  ASSERT_TRUE(Set(WithTtl(5)).ok());
  EXPECT_FALSE(Of(core_)->has_panic());
  EXPECT_FALSE(Of(core_)->has_brake_share());
  ASSERT_TRUE(Set(Settings()).ok());
  EXPECT_EQ(Of(core_), nullptr);
  EXPECT_EQ(core_.catalog.settings_count(), 0u);
  EXPECT_EQ(core_.View("api")->size(), 1u);
}

TEST_F(ServiceSettingsTest, AServiceMayBeginWithThem) {
  EXPECT_TRUE(Set(Settings()).ok());
  EXPECT_EQ(core_.catalog.service_count(), 0u) << "nothing is set, so nothing is kept";
  ASSERT_TRUE(Set(WithTtl(5)).ok());
  const auto info = core_.catalog.Get("default", "api");
  ASSERT_TRUE(info);
  EXPECT_EQ(info->identity->display, "API");
  EXPECT_EQ(info->view->size(), 0u);
  ASSERT_TRUE(core_.Register(Request("a")).ok());
  ASSERT_NE(Of(core_), nullptr) << "the first registration writes the record anew";
  EXPECT_EQ(core_.catalog.Get("default", "api")->identity->display, "API");
}

TEST_F(ServiceSettingsTest, ItIsNotForgottenAndItsPruningKeepsThem) {
  ASSERT_TRUE(Set(WithTtl(5)).ok());
  ASSERT_TRUE(core_.Register(Request("a")).ok());
  v1::DeregisterRequest gone;
  gone.mutable_key()->set_service("api");
  gone.mutable_key()->set_id("a");
  ASSERT_TRUE(core_.Deregister(gone).ok());
  for (int i = 0; i < 3; ++i) {
    clock_.Advance(absl::Hours(48));
    core_.registry.Maintain();
    core_.Run();
  }
  ASSERT_NE(core_.View("api"), nullptr);
  EXPECT_EQ(core_.View("api")->tombstone_count(), 0u) << "its deletions are gone";
  EXPECT_GT(core_.View("api")->floor(), 0u);
  ASSERT_NE(Of(core_), nullptr);
  EXPECT_TRUE(core_.catalog.ListUpkeep("", 10).empty()) << "there is nothing to do about it";

  ASSERT_TRUE(Set(Settings()).ok());
  core_.registry.Maintain();
  core_.Run();
  EXPECT_EQ(core_.View("api"), nullptr) << "without them it is";
}

// Upkeep goes through its list in parts.
TEST_F(ServiceSettingsTest, OneThatGetsThemInTheMiddleOfUpkeepStays) {
  for (int i = 100; i < 200; ++i) {
    auto request = Settings(absl::StrCat("s", i));
    request.mutable_settings()->set_panic(true);
    ASSERT_TRUE(Set(request).ok());
    request.clear_settings();
    ASSERT_TRUE(Set(request).ok());
  }
  clock_.Advance(absl::Hours(25));
  core_.registry.MaintainPart();
  core_.Run();
  ASSERT_LT(core_.catalog.service_count(), 100u) << "it has begun";
  auto last = Settings("s199");
  last.mutable_settings()->set_panic(true);
  ASSERT_TRUE(Set(last).ok());
  for (int part = 0; part < 100; ++part) {
    core_.registry.MaintainPart();
    core_.Run();
  }
  EXPECT_EQ(core_.catalog.service_count(), 1u);
  EXPECT_NE(core_.View("s199"), nullptr);
}

TEST_F(ServiceSettingsTest, TheyOutliveARestart) {
  ASSERT_TRUE(Set(WithTtl(5)).ok());
  core_.engine.Close();
  CoreStack restarted(clock_, store_);
  ASSERT_NE(Of(restarted), nullptr);
  EXPECT_EQ(Of(restarted)->default_ttl().seconds(), 5);
  EXPECT_EQ(restarted.catalog.settings_count(), 1u);
  const auto out = Verify(restarted.engine, restarted.catalog, restarted.leases, [] { return 0; });
  ASSERT_TRUE(out.ok());
  EXPECT_TRUE(out->problems.empty());
}

TEST_F(ServiceSettingsTest, RegistrationsWithoutATtlGetTheServices) {
  ASSERT_TRUE(Set(WithTtl(5)).ok());
  EXPECT_EQ(core_.Register(Request("a"))->ttl, absl::Seconds(5));
  EXPECT_EQ(core_.Register(Request("b", true))->ttl, absl::Seconds(7)) << "it gave one";
  auto forever = Request("c");
  forever.set_permanent(true);
  EXPECT_EQ(core_.Register(forever)->ttl, absl::ZeroDuration());
  auto other = Request("a");
  other.mutable_instance()->set_service("other");
  EXPECT_EQ(core_.Register(other)->ttl, absl::Seconds(30));
  // Not heard of again.
  core_.Advance(absl::Seconds(5) + absl::Milliseconds(300));
  EXPECT_EQ(core_.View("api")->size(), 2u);
}

TEST_F(ServiceSettingsTest, ARepeatedRegistrationGetsTheNewTtl) {
  const auto first = core_.Register(Request("a"));
  EXPECT_EQ(first->ttl, absl::Seconds(30));
  ASSERT_TRUE(Set(WithTtl(5)).ok());
  const uint64_t visible = core_.View("api")->seq();
  auto again = core_.Register(Request("a"));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->ttl, absl::Seconds(5));
  EXPECT_EQ(again->incarnation, first->incarnation);
  EXPECT_EQ(core_.View("api")->seq(), visible);
  const uint64_t commits = Commits();
  again = core_.Register(Request("a"));
  EXPECT_FALSE(again->changed);
  EXPECT_EQ(again->ttl, absl::Seconds(5));
  EXPECT_EQ(Commits(), commits) << "from then on it is as it was";
}

TEST_F(ServiceSettingsTest, ATtlOutsideOfLaterLimitsIsBroughtBackIn) {
  ASSERT_TRUE(Set(WithTtl(5)).ok());
  core_.engine.Close();
  CoreStack restarted(clock_, store_, {.min_ttl = absl::Seconds(10)});
  EXPECT_EQ(restarted.Register(Request("a"))->ttl, absl::Seconds(10));
}

// Both ask for a service that isn't known yet.
TEST_F(ServiceSettingsTest, TheyMeetAFirstRegistration) {
  std::optional<Answer> set;
  std::optional<absl::StatusOr<Registered>> registered;
  core_.registry.Register(Request("a"), {}, [&](auto r) { registered = std::move(r); });
  core_.registry.SetServiceSettings(WithTtl(5), [&](auto r) { set = std::move(r); });
  core_.Run();
  ASSERT_TRUE(registered && registered->ok());
  ASSERT_TRUE(set && set->ok()) << set->status();
  EXPECT_EQ(Of(core_)->default_ttl().seconds(), 5);
  EXPECT_EQ(core_.View("api")->size(), 1u);
}

TEST_F(ServiceSettingsTest, ThereIsALimit) {
  core_.engine.Close();
  CoreStack core(clock_, store_, {.max_settings = 1});
  ASSERT_TRUE(Set(core, WithTtl(5)).ok());
  auto second = Settings("second");
  second.mutable_settings()->set_panic(true);
  const auto refused = Set(core, second);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.status().message(),
            "the server keeps at most 1 services that have settings; end some first");
  EXPECT_TRUE(Set(core, WithTtl(6)).ok()) << "it is the one";
}

TEST_F(ServiceSettingsTest, BadOnesNameTheField) {
  const auto wrong = [this](const v1::SetServiceSettingsRequest& request) {
    const auto answer = Set(request);
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kInvalidArgument);
    return FieldOf(answer.status());
  };
  EXPECT_EQ(wrong(Settings("")), "service");
  EXPECT_EQ(wrong(Settings("a b")), "service");
  auto request = Settings();
  request.set_namespace_("a b");
  EXPECT_EQ(wrong(request), "namespace");
  for (const double share : {-0.1, 1.1, std::numeric_limits<double>::infinity(),
                             std::numeric_limits<double>::quiet_NaN()}) {
    request = Settings();
    request.mutable_settings()->set_brake_share(share);
    EXPECT_EQ(wrong(request), "settings.brake_share") << share;
  }
  EXPECT_EQ(Set(request).status().message(), "brake_share is nan; allowed: 0 to 1");
  for (const int64_t seconds : {int64_t{0}, int64_t{86'401}, int64_t{-1}}) {
    EXPECT_EQ(wrong(WithTtl(seconds)), "settings.default_ttl") << seconds;
  }
  request = Settings();
  request.mutable_settings()->mutable_slow_start()->set_seconds(1);
  EXPECT_EQ(wrong(request), "settings.slow_start");
  EXPECT_EQ(ReasonOf(Set(request).status()), Reason::kNotInThisRelease);
  EXPECT_EQ(core_.catalog.service_count(), 0u);
  for (const double share : {0.0, 1.0}) {
    request = Settings();
    request.mutable_settings()->set_brake_share(share);
    EXPECT_TRUE(Set(request).ok()) << share;
  }
}

}  // namespace
}  // namespace muster::core

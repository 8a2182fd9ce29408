// Callers that prefer a zone, when that fails.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/fake_clock.h"
#include "client/guard/caller_core.h"
#include "fake_scheduler.h"

namespace muster::client {
namespace {

using testing::FakeScheduler;

// Endpoints are named by their zone and a number: "a0".
class ZoneGuardTest : public ::testing::Test {
 protected:
  void Make(const std::vector<std::string>& ids, CallerOptions options = {}) {
    options.balance.zone = "a";
    options.log_failures = false;
    balancer_ = std::make_shared<BalancerCore>(
        options.balance,
        BalancerCore::Breaking{.breaker = options.endpoint_breaker, .most = options.most_left_out},
        7, clock_, scheduler_);
    Set(ids);
    core_ = std::make_unique<CallerCore>(
        std::move(options),
        CallerCore::Parts{.service = "users",
                          .balancer = balancer_,
                          .counts = std::make_shared<CallCounts>("users"),
                          .clock = clock_,
                          .pause = [this](absl::Duration duration) { clock_.Advance(duration); }});
  }
  void Set(const std::vector<std::string>& ids) {
    auto list = std::make_shared<EndpointList>();
    for (const std::string& id : ids) {
      list->push_back(std::make_shared<const Endpoint>(
          Endpoint{.id = id, .address = {"10.0.0.1", 80}, .zone = id.substr(0, 1)}));
    }
    balancer_->Update({.endpoints = std::move(list), .empty = Resolution::Empty::kNoInstances},
                      "users");
  }
  // An attempt at an endpoint of a bad zone fails. By whom each was attempted, in order.
  absl::Status Call(std::vector<std::string>* attempts = nullptr) {
    const absl::Status status = core_->Call(
        nullptr,
        [&](const Attempt& attempt) {
          ++attempts_[attempt.endpoint.id];
          ++by_zone_[attempt.endpoint.zone];
          if (attempts != nullptr) attempts->push_back(attempt.endpoint.id);
          clock_.Advance(absl::Milliseconds(1));
          return bad_.contains(attempt.endpoint.zone) ? absl::UnavailableError("dead")
                                                      : absl::OkStatus();
        },
        Idempotent::kYes);
    scheduler_.Run();
    return status;
  }
  void Advance(absl::Duration duration) {
    clock_.Advance(duration);
    scheduler_.Advance(clock_.Steady() - scheduler_.Now());
  }

  base::FakeClock clock_;
  FakeScheduler scheduler_;
  std::shared_ptr<BalancerCore> balancer_;
  std::unique_ptr<CallerCore> core_;
  std::set<std::string> bad_;
  std::map<std::string, int> attempts_;
  std::map<std::string, int> by_zone_;
};

TEST_F(ZoneGuardTest, CallsLeaveAZoneThatFailsAndNoneIsLost) {
  Make({"a0", "a1", "a2", "b0", "b1", "c0", "c1", "c2"});
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(Call().ok());
  EXPECT_EQ(by_zone_["a"], 100) << "it bears its part";
  bad_ = {"a"};
  by_zone_.clear();
  for (int i = 0; i < 800; ++i) EXPECT_TRUE(Call().ok()) << i;
  EXPECT_EQ(by_zone_["a"], 5) << "five in a row";
  // The callers of b and c are there, too: b is two fifths of what is left, and has its own third.
  EXPECT_NEAR(by_zone_["c"] / 800.0, 0.8, 0.02);
  Advance(absl::Seconds(10));
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(Call().ok()) << i;
  EXPECT_EQ(by_zone_["a"], 6) << "it is tried again, and left again at once";
  bad_ = {};
  Advance(absl::Seconds(10));
  by_zone_.clear();
  for (int i = 0; i < 1'000; ++i) EXPECT_TRUE(Call().ok());
  EXPECT_NEAR(by_zone_["a"], 85, 20) << "a twentieth of its 3, where a third of 5.15 is its part";
  Advance(absl::Seconds(10));
  by_zone_.clear();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(Call().ok());
  EXPECT_EQ(by_zone_["a"], 100);
}

TEST_F(ZoneGuardTest, ASuccessBetweenKeepsTheZone) {
  Make({"a0", "a1", "a2", "b0"}, {.service_breaker = {.minimum = 10'000},
                                  .endpoint_breaker = {.minimum = 10'000, .in_a_row = 5}});
  for (int i = 0; i < 100; ++i) {
    bad_ = i % 5 == 4 ? std::set<std::string>{} : std::set<std::string>{"a"};
    Call().IgnoreError();
  }
  EXPECT_EQ(by_zone_["a"], 100);
}

TEST_F(ZoneGuardTest, ARetryGoesToAnotherZone) {
  Make({"a0", "a1", "a2", "a3", "b0"});
  bad_ = {"a"};
  std::vector<std::string> attempts;
  EXPECT_TRUE(Call(&attempts).ok());
  ASSERT_EQ(attempts.size(), 2u);
  EXPECT_EQ(attempts[0].substr(0, 1), "a");
  EXPECT_EQ(attempts[1], "b0");
}

TEST_F(ZoneGuardTest, WithoutAnotherZoneItStays) {
  Make({"a0", "a1", "a2"}, {.service_breaker = {.minimum = 10'000}});
  bad_ = {"a"};
  for (int i = 0; i < 50; ++i) EXPECT_FALSE(Call().ok());
  EXPECT_GE(by_zone_["a"], 50);
  bad_ = {};
  EXPECT_TRUE(Call().ok());
}

TEST_F(ZoneGuardTest, AZoneOfWhichAllAreLeftOutIsLeftBeforeTheLastIsTakenAgain) {
  // Two failures open an endpoint's breaker by share; a zone is left by in_a_row only.
  Make({"a0", "a1", "b0", "b1", "b2"},
       {.retry_budget = 0, .endpoint_breaker = {.error_share = 0.5, .minimum = 2, .in_a_row = 0}});
  bad_ = {"a"};
  int failed = 0;
  for (int i = 0; i < 100; ++i) failed += Call().ok() ? 0 : 1;
  EXPECT_EQ(failed, 4);
  EXPECT_EQ(core_->left_out(), 2u);
}

TEST_F(ZoneGuardTest, AnEndpointThatComesIsTriedAtOnceWhenTheBreakerIsOpen) {
  Make({"a0", "a1"}, {.retry_budget = 0, .service_breaker = {.minimum = 5}});
  bad_ = {"a"};
  while (core_->breaker() != BreakerState::kOpen) EXPECT_FALSE(Call().ok());
  const int before = by_zone_["a"];
  EXPECT_FALSE(Call().ok());
  Set({"a0"});
  EXPECT_FALSE(Call().ok());
  EXPECT_EQ(by_zone_["a"], before) << "nobody has come";
  bad_ = {};
  Set({"a2"});
  EXPECT_TRUE(Call().ok());
  EXPECT_EQ(core_->breaker(), BreakerState::kClosed);
}

TEST_F(ZoneGuardTest, AnArrivalWhileAProbeIsUnderWayCounts) {
  Make({"a0", "a1"}, {.retry_budget = 0, .service_breaker = {.minimum = 5}});
  bad_ = {"a"};
  while (core_->breaker() != BreakerState::kOpen) EXPECT_FALSE(Call().ok());
  Advance(absl::Seconds(30));
  const auto probe = [this](const Attempt&) {
    Set({"a0", "a1", "b0"});
    EXPECT_FALSE(Call().ok()) << "there is a probe already";
    return absl::UnavailableError("dead");
  };
  EXPECT_FALSE(core_->Call(nullptr, probe, Idempotent::kYes).ok());
  EXPECT_TRUE(Call().ok()) << "b0 is tried";
}

TEST_F(ZoneGuardTest, WhoHasComeIsTheOneThatIsTried) {
  for (int round = 0; round < 20; ++round) {
    std::vector<std::string> ids;
    for (int i = 0; i < 10; ++i) ids.push_back(absl::StrCat("a", i));
    Make(ids, {.retry_budget = 0, .service_breaker = {.minimum = 5}});
    const auto call = [this] {
      const auto function = [](const Attempt& attempt) {
        return attempt.endpoint.id == "ax" ? absl::OkStatus() : absl::UnavailableError("dead");
      };
      return core_->Call(nullptr, function, Idempotent::kYes).ok();
    };
    while (core_->breaker() != BreakerState::kOpen) EXPECT_FALSE(call());
    ids.push_back("ax");
    Set(ids);
    EXPECT_TRUE(call());
  }
}

TEST_F(ZoneGuardTest, WhoWasLeftOutInAnotherZoneIsNotForEver) {
  Make({"a0", "a1", "a2", "b0", "b1", "b2"},
       {.retry_budget = 0, .service_breaker = {.minimum = 10'000}});
  bad_ = {"a"};
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(Call().ok());
  bad_ = {"a", "b"};
  for (int i = 0; i < 40 && core_->left_out() < 3; ++i) EXPECT_FALSE(Call().ok());
  bad_ = {};
  for (int i = 0; i < 30; ++i) {
    Advance(absl::Seconds(1));
    EXPECT_TRUE(Call().ok());
  }
  EXPECT_EQ(core_->left_out(), 0u);
  int failed = 0;
  for (int i = 0; i < 300; ++i) {
    const auto function = [](const Attempt& attempt) {
      return attempt.endpoint.id == "a0" ? absl::UnavailableError("dead") : absl::OkStatus();
    };
    failed += core_->Call(nullptr, function, Idempotent::kYes).ok() ? 0 : 1;
    scheduler_.Run();
  }
  EXPECT_EQ(failed, 5) << "it is left out as ever";
}

TEST_F(ZoneGuardTest, WhoHasComeIsTriedForAWhile) {
  Make({"a0"}, {.retry_budget = 0, .service_breaker = {.minimum = 5}});
  bad_ = {"a"};
  while (core_->breaker() != BreakerState::kOpen) EXPECT_FALSE(Call().ok());
  Set({"a0", "b0"});
  bad_ = {"a", "b"};
  by_zone_.clear();
  for (int i = 0; i < 400; ++i) {
    EXPECT_FALSE(Call().ok());
    Advance(absl::Milliseconds(10));
  }
  EXPECT_NEAR(by_zone_["b"], 15, 1) << "five times a second, for three";
  EXPECT_EQ(by_zone_["a"], 0);
  Set({"a0", "b0", "b1"});
  EXPECT_FALSE(Call().ok());
  bad_ = {"a"};
  Advance(absl::Milliseconds(200));
  EXPECT_TRUE(Call().ok()) << "it could be reached at last";
  EXPECT_EQ(core_->breaker(), BreakerState::kClosed);
}

}  // namespace
}  // namespace muster::client

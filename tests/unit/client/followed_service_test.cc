#include "client/followed_service.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace muster::client {
namespace {

using Empty = Resolution::Empty;
using Source = Resolution::Source;

constexpr base::SteadyTime kBegin{1'000'000};
constexpr absl::Duration kKeep = absl::Seconds(30);

EndpointPtr One(const std::string& id) {
  return std::make_shared<const Endpoint>(Endpoint{.id = id, .address = {"10.0.0.1", 80}});
}

class FollowedServiceTest : public ::testing::Test {
 protected:
  // Seconds since the beginning.
  static base::SteadyTime At(int seconds) { return kBegin + absl::Seconds(seconds); }
  bool Take(EndpointList endpoints, int at, Empty why = Empty::kNoInstances) {
    settle_at_.reset();
    return service_.Take(std::move(endpoints), why, At(at), kKeep, &settle_at_);
  }
  bool TakeOfNewStore(EndpointList endpoints, int at, Empty why = Empty::kNoInstances) {
    settle_at_.reset();
    return service_.Take(std::move(endpoints), why, At(at), kKeep, &settle_at_,
                         /*new_store=*/true);
  }
  void Expect(int at, std::vector<std::string> ids, Source source, int age,
              Empty empty = Empty::kNot) {
    const auto answer = service_.Answer(At(at));
    ASSERT_TRUE(answer.has_value());
    std::vector<std::string> found;
    for (const EndpointPtr& endpoint : *answer->endpoints) found.push_back(endpoint->id);
    EXPECT_EQ(found, ids);
    EXPECT_EQ(answer->source, source);
    EXPECT_EQ(answer->age, absl::Seconds(age));
    EXPECT_EQ(answer->empty, empty);
  }

  FollowedService service_{Query{.service = "web"}};
  std::optional<base::SteadyTime> settle_at_;
};

TEST_F(FollowedServiceTest, AnAnswerIsLiveUntilItIsLost) {
  EXPECT_FALSE(service_.Answer(At(0)).has_value());
  EXPECT_FALSE(service_.Lose(At(0))) << "there was nothing";
  EXPECT_TRUE(Take({One("a"), One("b")}, 1));
  Expect(9, {"a", "b"}, Source::kRegistry, 0);
  EXPECT_TRUE(service_.Lose(At(10)));
  EXPECT_FALSE(service_.Lose(At(12)));
  Expect(15, {"a", "b"}, Source::kLastKnown, 5);
  const EndpointPtr b = One("b");
  EXPECT_TRUE(Take({b}, 20));
  Expect(25, {"b"}, Source::kRegistry, 0);
  EXPECT_FALSE(Take({b}, 30)) << "the same";
  service_.Lose(At(40));
  EXPECT_EQ(service_.Answer(At(35))->age, absl::ZeroDuration())
      << "whoever looked at the clock before";
  EXPECT_TRUE(Take({b}, 41)) << "it is live again";
}

TEST_F(FollowedServiceTest, WhatANewStoreDoesntHaveYetStaysUntilItDoes) {
  Take({One("a"), One("b"), One("c")}, 1);
  service_.Lose(At(5));
  EXPECT_TRUE(TakeOfNewStore({}, 10));
  EXPECT_EQ(settle_at_, At(40));
  Expect(12, {"a", "b", "c"}, Source::kLastKnown, 7);
  EXPECT_TRUE(Take({One("b")}, 12));
  Expect(12, {"a", "b", "c"}, Source::kLastKnown, 7);
  EXPECT_TRUE(Take({One("b"), One("d")}, 13));
  Expect(13, {"a", "b", "c", "d"}, Source::kLastKnown, 8);
  EXPECT_TRUE(Take({One("a"), One("b"), One("c"), One("d")}, 14));
  Expect(14, {"a", "b", "c", "d"}, Source::kRegistry, 0);
  EXPECT_TRUE(Take({One("a")}, 15)) << "it is over";
  Expect(15, {"a"}, Source::kRegistry, 0);
  EXPECT_FALSE(service_.Settle(At(40)));
}

TEST_F(FollowedServiceTest, WhatANewStoreNeverGetsGoes) {
  Take({One("a"), One("b")}, 1);
  EXPECT_TRUE(TakeOfNewStore({One("b")}, 10));
  Expect(10, {"a", "b"}, Source::kLastKnown, 0);
  EXPECT_FALSE(service_.Settle(At(39)));
  EXPECT_TRUE(service_.Settle(At(40)));
  Expect(40, {"b"}, Source::kRegistry, 0);
  // All of it.
  EXPECT_TRUE(TakeOfNewStore({}, 50, Empty::kUnknownService));
  Expect(60, {"b"}, Source::kLastKnown, 10);
  EXPECT_TRUE(service_.Settle(At(80)));
  Expect(80, {}, Source::kRegistry, 0, Empty::kUnknownService);
}

TEST_F(FollowedServiceTest, ANewStoreThatIsLostSettlesNothing) {
  Take({One("a"), One("b")}, 1);
  TakeOfNewStore({One("b")}, 10);
  service_.Lose(At(20), /*can_ask=*/true);
  EXPECT_FALSE(service_.Settle(At(40)));
  Expect(40, {"a", "b"}, Source::kLastKnown, 30);
  EXPECT_TRUE(Take({One("b")}, 41)) << "its time is over";
  Expect(41, {"b"}, Source::kRegistry, 0);
}

TEST_F(FollowedServiceTest, WhoWaitsIsToldOfARefusalAndNotOfAMereLoss) {
  for (int i = 0; i < 300; ++i) {
    FollowedService service{Query{.service = "web"}};
    absl::Status told;
    std::thread waits([&] {
      told = service.Wait(absl::Seconds(20), base::RealClock(), /*until_lost=*/true).status();
    });
    service.Refuse(absl::UnauthenticatedError("who?"), kBegin);
    waits.join();
    ASSERT_TRUE(absl::IsUnauthenticated(told)) << told;
  }
  FollowedService service{Query{.service = "web"}};
  service.Lose(kBegin, /*can_ask=*/true);
  EXPECT_TRUE(absl::IsDeadlineExceeded(
      service.Wait(absl::Milliseconds(1), base::RealClock(), true).status()));
  service.Lose(kBegin);
  EXPECT_TRUE(
      absl::IsDeadlineExceeded(service.Wait(absl::Hours(1), base::RealClock(), true).status()))
      << "at once";
}

TEST_F(FollowedServiceTest, ASnapshotIsOldUntilTheRegistrySpeaks) {
  service_.Prime(std::make_shared<const EndpointList>(EndpointList{One("a")}), At(-100));
  Expect(0, {"a"}, Source::kSnapshot, 100);
  service_.WaitForRegistry(absl::Milliseconds(1), base::RealClock());
  EXPECT_FALSE(service_.Lose(At(5))) << "it was old before";
  service_.WaitForRegistry(absl::Hours(1), base::RealClock());
  Expect(10, {"a"}, Source::kSnapshot, 110);
  EXPECT_FALSE(Take({}, 20)) << "an empty answer is doubted here, too";
  Expect(30, {"a"}, Source::kSnapshot, 130);
  EXPECT_TRUE(service_.Settle(At(50)));
  Expect(51, {}, Source::kRegistry, 0, Empty::kNoInstances);
  EXPECT_TRUE(Take({One("b")}, 60));
  Expect(61, {"b"}, Source::kRegistry, 0);
}

TEST_F(FollowedServiceTest, AnEmptyAnswerCountsAfterAWhile) {
  Take({One("a")}, 0);
  EXPECT_TRUE(Take({}, 10, Empty::kUnknownService)) << "the source changes";
  EXPECT_EQ(settle_at_, At(40));
  Expect(20, {"a"}, Source::kLastKnown, 10);
  EXPECT_FALSE(Take({}, 25, Empty::kAllUnhealthy));
  EXPECT_FALSE(settle_at_.has_value()) << "it has been empty all the time";
  EXPECT_FALSE(service_.Settle(At(39)));
  EXPECT_TRUE(service_.Settle(At(40)));
  Expect(41, {}, Source::kRegistry, 0, Empty::kAllUnhealthy);
  EXPECT_TRUE(Take({}, 50, Empty::kNoInstances)) << "an empty one takes an empty one's place";
  Expect(51, {}, Source::kRegistry, 0, Empty::kNoInstances);
  Take({One("b")}, 60);
  Expect(61, {"b"}, Source::kRegistry, 0);
}

TEST_F(FollowedServiceTest, ARegistryThatComesBackEmptyEmptiesNothing) {
  Take({One("a")}, 0);
  service_.Lose(At(5));
  EXPECT_FALSE(Take({}, 10)) << "it was lost, and still is what was known last";
  Expect(20, {"a"}, Source::kLastKnown, 15);
  Take({One("a")}, 30);
  EXPECT_FALSE(service_.Settle(At(40))) << "it isn't empty any more";
  Expect(45, {"a"}, Source::kRegistry, 0);
}

TEST_F(FollowedServiceTest, WhatNobodyConfirmsDoesNotBecomeTrue) {
  Take({One("a")}, 0);
  Take({}, 10);
  service_.Lose(At(20));
  EXPECT_FALSE(service_.Settle(At(40)));
  Expect(50, {"a"}, Source::kLastKnown, 40);
}

TEST_F(FollowedServiceTest, ARefusalIsTheErrorOfWhoWaits) {
  EXPECT_FALSE(service_.Refuse(absl::PermissionDeniedError("no right"), At(0)));
  EXPECT_TRUE(absl::IsPermissionDenied(service_.Wait(kKeep, base::RealClock()).status()));
  Take({One("a")}, 1);
  EXPECT_TRUE(service_.Refuse(absl::PermissionDeniedError("no right"), At(5)));
  Expect(10, {"a"}, Source::kLastKnown, 5);
  EXPECT_TRUE(service_.Wait(kKeep, base::RealClock()).ok());
}

TEST_F(FollowedServiceTest, WaitingEndsWithTheAnswerOrTheTime) {
  EXPECT_TRUE(
      absl::IsDeadlineExceeded(service_.Wait(absl::ZeroDuration(), base::RealClock()).status()));
  EXPECT_TRUE(
      absl::IsDeadlineExceeded(service_.Wait(absl::Milliseconds(5), base::RealClock()).status()));
  std::thread answer([&] { Take({One("a")}, 1); });
  const auto waited = service_.Wait(absl::Seconds(20), base::RealClock());
  answer.join();
  ASSERT_TRUE(waited.ok()) << waited.status();
  EXPECT_EQ(waited->endpoints->size(), 1u);
}

TEST(SelectTest, RegionZoneAndPortAreTheClients) {
  Endpoint a{.id = "a", .address = {"10.0.0.1", 80}, .region = "eu", .zone = "eu-1"};
  Endpoint b{.id = "b", .address = {"10.0.0.2", 80}, .region = "eu", .zone = "eu-2"};
  b.named_ports["admin"] = 9090;
  const EndpointList all = {std::make_shared<const Endpoint>(a),
                            std::make_shared<const Endpoint>(b)};
  EXPECT_EQ(Select({.service = "web"}, all), all) << "the same objects";
  EXPECT_EQ(Select({.service = "web", .region = "eu"}, all).size(), 2u);
  EXPECT_EQ(Select({.service = "web", .region = "us"}, all).size(), 0u);
  EXPECT_EQ(Select({.service = "web", .zone = "eu-2"}, all), EndpointList{all[1]});
  const EndpointList admin = Select({.service = "web", .port_name = "admin"}, all);
  ASSERT_EQ(admin.size(), 1u);
  b.address.port = 9090;
  EXPECT_EQ(*admin[0], b);
}

}  // namespace
}  // namespace muster::client

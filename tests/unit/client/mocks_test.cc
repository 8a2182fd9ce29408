// A Client over the mocks that are shipped, as an application's tests use them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "muster/client/client.h"
#include "muster/client/mocks/mock_connection.h"

namespace muster::client {
namespace {

using mocks::AnswerOf;
using mocks::MockConnection;
using mocks::MockRegistration;
using mocks::MockSubscription;
using ::testing::_;
using ::testing::ByMove;
using ::testing::Field;
using ::testing::NiceMock;
using ::testing::Return;
using ::testing::StrictMock;

// Of a target that means this service.
auto Asks(const std::string& service) {
  return Field(&Target::query, Field(&Query::service, service));
}

class MocksTest : public ::testing::Test {
 protected:
  // What a balancer is told comes to it on a thread of its own.
  static bool BecomesChosen(const Balancer& balancer, const std::string& id) {
    const base::SteadyTime end = base::RealClock().Steady() + absl::Seconds(20);
    while (balancer.Next()->id != id) {
      if (base::RealClock().Steady() > end) return false;
      std::this_thread::yield();
    }
    return true;
  }

  const std::shared_ptr<StrictMock<MockConnection>> connection_ =
      std::make_shared<StrictMock<MockConnection>>();
  const Client client_{connection_};
};

TEST_F(MocksTest, ResolveReturnsWhatTheMockSays) {
  EXPECT_CALL(*connection_, Resolve(Asks("api")))
      .WillOnce(Return(AnswerOf({{.id = "a"}, {.id = "b"}})))
      .WillOnce(Return(AnswerOf({})))
      .WillOnce(Return(absl::UnavailableError("no registry")));
  const auto two = client_.Resolve("http://api:8001/path");
  ASSERT_TRUE(two.ok());
  ASSERT_EQ(two->endpoints->size(), 2u);
  EXPECT_EQ(two->endpoints->back()->id, "b");
  EXPECT_EQ(two->WhyEmpty("api"), "");
  const auto none = client_.Resolve("api");
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(none->empty, Resolution::Empty::kNoInstances);
  EXPECT_EQ(client_.Resolve("api").status().message(), "no registry");
}

TEST_F(MocksTest, BalanceFollowsWhatTheListenerIsTold) {
  auto subscription = std::make_unique<MockSubscription>();
  bool ended = false;
  EXPECT_CALL(*subscription, Ended).WillOnce([&ended] { ended = true; });
  Connection::Listener listener;
  EXPECT_CALL(*connection_, Resolve(Asks("api"))).WillOnce(Return(AnswerOf({{.id = "a"}})));
  EXPECT_CALL(*connection_, Watch(Asks("api"), _))
      .WillOnce([&](const Target&, Connection::Listener given) {
        listener = std::move(given);
        return std::move(subscription);
      });
  {
    const auto balancer = client_.Balance("api");
    ASSERT_TRUE(balancer.ok()) << balancer.status();
    EXPECT_EQ(balancer->Next()->id, "a");
    listener(AnswerOf({{.id = "b"}}));
    EXPECT_TRUE(BecomesChosen(*balancer, "b"));
    EXPECT_FALSE(ended);
  }
  EXPECT_TRUE(ended);
}

TEST_F(MocksTest, RegisterPassesTheInstance) {
  auto registration = std::make_unique<NiceMock<MockRegistration>>();
  EXPECT_CALL(*registration, status)
      .Times(2)
      .WillRepeatedly(
          Return(RegistrationStatus{.state = RegistrationStatus::State::kHeld, .id = "a"}));
  EXPECT_CALL(*registration, Drain(absl::Seconds(10)))
      .WillOnce(Return(Registration::Drained{.eligible = 2, .acked = 1}));
  EXPECT_CALL(*connection_, Register(Field(&Instance::service, "api"),
                                     Field(&RegisterOptions::ttl, absl::Seconds(5))))
      .WillOnce(Return(ByMove(std::move(registration))));
  auto registered = client_.Register({.service = "api"}, {.ttl = absl::Seconds(5)});
  ASSERT_TRUE(registered.ok()) << registered.status();
  EXPECT_EQ((*registered)->status().id, "a");
  EXPECT_EQ((*registered)->Drain(absl::Seconds(10))->acked, 1u);
  ASSERT_EQ(client_.metrics().registrations.size(), 1u);
  *registered = nullptr;
  EXPECT_TRUE(client_.metrics().registrations.empty());
}

// Balance and callers watch, too, of which a test may know nothing.
TEST(MocksWithoutInstructionsTest, WhatOnlyExpectsResolveServesBalancersAndCallers) {
  const auto connection = std::make_shared<NiceMock<MockConnection>>();
  ON_CALL(*connection, Resolve).WillByDefault(Return(AnswerOf({{.id = "a"}})));
  const Client client(connection);
  const auto balancer = client.Balance("api");
  ASSERT_TRUE(balancer.ok()) << balancer.status();
  EXPECT_EQ(balancer->Next()->id, "a");
  std::string called;
  const auto call = [&called](const Attempt& attempt) {
    called += attempt.endpoint.id;
    return absl::OkStatus();
  };
  const auto caller = client.CallerOf("api");
  ASSERT_TRUE(caller.ok()) << caller.status();
  EXPECT_TRUE(caller->Call(call).ok());
  EXPECT_TRUE(client.Call("api", call).ok());
  EXPECT_EQ(called, "aa");
}

TEST(MocksWithoutInstructionsTest, TheErrorSaysThatNothingWasExpected) {
  const Client client(std::make_shared<NiceMock<MockConnection>>());
  EXPECT_EQ(client.Resolve("api").status(),
            absl::UnavailableError("MockConnection: nothing was expected of Resolve"));
  EXPECT_EQ(client.Register({.service = "api"}).status(),
            absl::UnavailableError("MockConnection: nothing was expected of Register"));
}

TEST_F(MocksTest, ARegistrationThatOutlivesItsClientFollowsNobody) {
  auto subscription = std::make_unique<MockSubscription>();
  bool ended = false;
  EXPECT_CALL(*subscription, Ended).WillOnce([&ended] { ended = true; });
  EXPECT_CALL(*connection_, Resolve(_)).WillOnce(Return(AnswerOf({{.id = "a"}})));
  EXPECT_CALL(*connection_, Watch(_, _)).WillOnce(Return(ByMove(std::move(subscription))));
  EXPECT_CALL(*connection_, Register(_, _))
      .WillOnce(Return(ByMove(std::make_unique<NiceMock<MockRegistration>>())));
  auto client = std::make_unique<Client>(connection_);
  EXPECT_TRUE(client->Call("api", [](const Attempt&) { return absl::OkStatus(); }).ok());
  const auto registered = client->Register({.service = "web"});
  ASSERT_TRUE(registered.ok());
  client = nullptr;
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace muster::client

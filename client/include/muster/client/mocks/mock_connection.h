// What the registry says, in an application's own tests: mocks for a Client to rest on, by
// GoogleMock.
//
//   auto connection = std::make_shared<testing::NiceMock<mocks::MockConnection>>();
//   ON_CALL(*connection, Resolve)
//       .WillByDefault(testing::Return(mocks::AnswerOf({{.address = {"10.0.0.7", 8001}}})));
//   client::Connection::Listener listener;            // to be told what changes later
//   EXPECT_CALL(*connection, Watch).WillOnce([&](const auto&, client::Connection::Listener then) {
//     listener = std::move(then);
//     return std::make_unique<testing::NiceMock<mocks::MockSubscription>>();
//   });
//   EXPECT_TRUE(Serve(client::Client(connection)));   // the application
//
// Link muster::mocks, and GTest::gmock of your own. Client::Balance, CallerOf, Call and Channel
// take both Resolve and Watch. Without instructions Watch gives a subscription that nothing comes
// of, and Resolve and Register say UNAVAILABLE, and that nothing was expected of the mock.
//
// Thread safety: GoogleMock's. Ownership: the client shares the connection; who asked owns the
// subscriptions and registrations that the mock gave.
#pragma once

#include <gmock/gmock.h>

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "muster/client/connection.h"
#include "muster/client/registration.h"
#include "muster/client/resolution.h"
#include "muster/client/target.h"

namespace muster::client::mocks {

// As the registry has them now; without any: the service has no instance.
inline Resolution AnswerOf(std::vector<Endpoint> endpoints) {
  std::vector<std::shared_ptr<const Endpoint>> shared;
  for (Endpoint& one : endpoints) shared.push_back(std::make_shared<Endpoint>(std::move(one)));
  const auto empty = shared.empty() ? Resolution::Empty::kNoInstances : Resolution::Empty::kNot;
  return {.endpoints = std::make_shared<const decltype(shared)>(std::move(shared)), .empty = empty};
}

// Calls Ended when it is destroyed, which is how a subscription ends.
class MockSubscription : public Connection::Subscription {
 public:
  ~MockSubscription() override { Ended(); }
  MOCK_METHOD(void, Ended, ());
};

class MockConnection : public Connection {
 public:
  MockConnection() {
    const auto nothing = [](const char* call) {
      return absl::UnavailableError(absl::StrCat("MockConnection: nothing was expected of ", call));
    };
    ON_CALL(*this, Resolve).WillByDefault([nothing] { return nothing("Resolve"); });
    ON_CALL(*this, Watch).WillByDefault([] {
      return std::make_unique<testing::NiceMock<MockSubscription>>();
    });
    ON_CALL(*this, Register).WillByDefault([nothing] { return nothing("Register"); });
  }
  MOCK_METHOD(absl::StatusOr<Resolution>, Resolve, (const Target& target), (override));
  MOCK_METHOD(absl::StatusOr<std::unique_ptr<Subscription>>, Watch,
              (const Target& target, Listener listener), (override));
  MOCK_METHOD(absl::StatusOr<std::unique_ptr<Registration>>, Register,
              (Instance instance, RegisterOptions options), (override));
};

// As MockSubscription.
class MockRegistration : public Registration {
 public:
  ~MockRegistration() override { Ended(); }
  MOCK_METHOD(void, Ended, ());
  MOCK_METHOD(RegistrationStatus, status, (), (const, override));
  MOCK_METHOD(absl::Status, WaitUntilHeld, (absl::Duration within), (override));
  MOCK_METHOD(absl::Status, Report, (std::string_view check_id, HealthReport report), (override));
  MOCK_METHOD(absl::StatusOr<Drained>, Drain, (absl::Duration within), (override));
  MOCK_METHOD(absl::Status, Deregister, (absl::Duration within), (override));
};

}  // namespace muster::client::mocks

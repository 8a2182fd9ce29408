#include <gmock/gmock.h>

#include <memory>
#include <string>

#include "muster/client/client.h"
#include "muster/client/mocks/mock_connection.h"

using muster::client::Client;
using muster::client::mocks::AnswerOf;
using muster::client::mocks::MockConnection;
using testing::Return;

// Of the application: it is given its client.
std::string HostOfUsers(const Client& client) {
  const auto answer = client.Resolve("users");
  if (!answer.ok() || answer->endpoints->empty()) return "nowhere";
  return answer->endpoints->front()->address.host;
}

TEST(UsersTest, AreWhereTheRegistrySays) {
  const auto connection = std::make_shared<MockConnection>();
  EXPECT_CALL(*connection, Resolve)
      .WillOnce(Return(AnswerOf({{.address = {"10.0.0.7", 8001}}})))
      .WillOnce(Return(absl::UnavailableError("no registry")));
  const Client client(connection);
  EXPECT_EQ(HostOfUsers(client), "10.0.0.7");
  EXPECT_EQ(HostOfUsers(client), "nowhere");
}

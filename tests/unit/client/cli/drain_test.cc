// drain: who has confirmed it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "absl/synchronization/notification.h"
#include "fake_server.h"

namespace muster::cli {
namespace {

using testing::FakeServer;
using ::testing::HasSubstr;
using testing::Ok;
using testing::Ran;
using testing::Recorder;
using testing::Refused;
using testing::RunAt;

class DrainCommandTest : public ::testing::Test {
 protected:
  DrainCommandTest() {
    server_.registry.drain = [this](const auto& request, auto* response) {
      drains_.Add(request);
      *response = answer_;
      return Ok();
    };
  }

  Recorder<v1::DrainRequest> drains_;
  v1::DrainResponse answer_;
  FakeServer server_;
};

TEST_F(DrainCommandTest, SaysWhoHasConfirmed) {
  answer_.set_eligible(3);
  answer_.set_acked(3);
  const Ran ran = RunAt(server_, {"drain", "web", "web-1"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "default/web id web-1 is draining; 3 of 3 watchers have confirmed it\n");
  const v1::DrainRequest request = drains_.All().at(0);
  EXPECT_EQ(request.key().namespace_(), "default");
  EXPECT_EQ(request.key().node(), "");
  EXPECT_EQ(request.incarnation(), 0u);
  EXPECT_EQ(request.deadline().seconds(), 10);
  EXPECT_EQ(request.min_acked(), 1.0);
  answer_.set_eligible(1);
  answer_.set_acked(1);
  auto& others = *answer_.add_not_acking();
  others.set_face("grpc");
  others.set_count(2);
  EXPECT_EQ(RunAt(server_, {"drain", "web", "web-1"}).out,
            "default/web id web-1 is draining; 1 of 1 watcher has confirmed it; 2 can't: grpc\n");
}

TEST_F(DrainCommandTest, SendsAllThatIsGiven) {
  answer_.set_eligible(10);
  answer_.set_acked(7);
  const Ran ran =
      RunAt(server_, {"-o", "json", "drain", "web", "web-1", "--node", "n1", "--namespace", "shop",
                      "--incarnation", "42", "--deadline", "1m500ms", "--min-acked", "0.7"});
  EXPECT_EQ(ran.code, 0) << "as many as were to";
  EXPECT_EQ(ran.out, "{\"eligible\":\"10\",\"acked\":\"7\"}\n");
  const v1::DrainRequest request = drains_.All().at(0);
  EXPECT_EQ(request.key().namespace_(), "shop");
  EXPECT_EQ(request.key().node(), "n1");
  EXPECT_EQ(request.incarnation(), 42u);
  EXPECT_EQ(request.deadline().seconds(), 60);
  EXPECT_EQ(request.deadline().nanos(), 500'000'000);
  EXPECT_EQ(request.min_acked(), 0.7);
}

TEST_F(DrainCommandTest, TooFewIsAFailure) {
  answer_.set_eligible(2);
  answer_.set_acked(1);
  const Ran ran = RunAt(server_, {"drain", "web", "web-1"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.out, HasSubstr("1 of 2 watchers have confirmed it"));
}

// The deadline of the drain is longer than that of a call, which is for the way there and back.
TEST_F(DrainCommandTest, WaitsAsLongAsTheServerMay) {
  // The second call outlasts the test.
  const auto never = std::make_shared<absl::Notification>();
  server_.registry.drain = [never](const auto&, auto*) {
    never->WaitForNotificationWithTimeout(absl::Milliseconds(600));
    return Ok();
  };
  const Ran ran =
      RunAt(server_, {"--timeout", "300ms", "drain", "web", "web-1", "--deadline", "20s"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(
      RunAt(server_, {"--timeout", "200ms", "drain", "web", "web-1", "--deadline", "100ms"}).code,
      1);
}

TEST_F(DrainCommandTest, RefusalsAreFailures) {
  server_.registry.drain = [](const auto&, auto*) {
    return Refused(grpc::StatusCode::NOT_FOUND, "INSTANCE_NOT_FOUND", "no such instance");
  };
  const Ran ran = RunAt(server_, {"drain", "web", "web-1"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("no such instance; an instance that has a node needs --node"));
}

}  // namespace
}  // namespace muster::cli

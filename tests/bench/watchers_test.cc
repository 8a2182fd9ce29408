#include "tests/bench/watchers.h"

#include <gtest/gtest.h>

#include "muster/v1/discovery.pb.h"
#include "tests/bench/measure.h"
#include "tests/bench/yardstick/yardstick.h"

namespace muster::bench {
namespace {

class WatchersTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server = WithClient(StartYardstick());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *server;
    watchers_ = std::make_unique<OpenStreams>(server_->process->address(), 4);
  }
  // Sends its own name on each of 10 streams, which comes back.
  static WatchLoad Ten() {
    return {.method = kYardstickFollow, .streams = 10, .requests = [](size_t stream) {
              return std::vector<std::string>{"stream " + std::to_string(stream)};
            }};
  }
  void Publish(const std::string& bytes) {
    const absl::Status status = PublishToAll(*server_->client, bytes);
    ASSERT_TRUE(status.ok()) << status;
  }

  std::shared_ptr<Server> server_;
  std::unique_ptr<OpenStreams> watchers_;
};

TEST_F(WatchersTest, EachStreamHasWhatIsPublished) {
  ASSERT_TRUE(watchers_->Open(Ten()).ok());
  EXPECT_EQ(watchers_->messages(), 10U);
  EXPECT_EQ(watchers_->sample(), "stream 0");
  const uint64_t before = watchers_->bytes();
  const absl::Time begin = test::Now();
  watchers_->Expect(1);
  Publish("what's new");
  const auto last = watchers_->Await();
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_GE(*last, begin);
  EXPECT_LE(*last, test::Now());
  EXPECT_EQ(watchers_->messages(), 20U);
  EXPECT_EQ(watchers_->bytes() - before, 10 * std::string("what's new").size());
  EXPECT_EQ(watchers_->sample(), "what's new");
}

TEST_F(WatchersTest, SaysMoreOnOpenStreams) {
  ASSERT_TRUE(watchers_->Open(Ten()).ok());
  // Nothing answers these: they are only to be said.
  const auto more = [](size_t) { return std::vector<std::string>{"one", "two", "three"}; };
  ASSERT_TRUE(watchers_->Send(more, 0).ok());
  EXPECT_EQ(watchers_->messages(), 10U);
  watchers_->Expect(1);
  Publish("x");
  EXPECT_TRUE(watchers_->Await().ok());
}

TEST_F(WatchersTest, WhatDoesNotCountIsNotAwaited) {
  WatchLoad load = Ten();
  load.counts = [](const grpc::ByteBuffer& message) { return ToString(message) != "noise"; };
  ASSERT_TRUE(watchers_->Open(load).ok());
  watchers_->Expect(1);
  Publish("noise");
  Publish("signal");
  ASSERT_TRUE(watchers_->Await().ok());
  EXPECT_EQ(watchers_->sample(), "signal");
}

TEST_F(WatchersTest, StalledStreamsTakeNothingMore) {
  WatchLoad load = Ten();
  load.stalls = true;
  ASSERT_TRUE(watchers_->Open(load).ok());
  // The first fills the windows, so that the second can't be sent.
  Publish(std::string(1 << 20, 'x'));
  const auto second = CallOnce(*server_->client, kYardstickPublish, "y");
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAborted) << second.status();
  EXPECT_EQ(watchers_->messages(), 10U);
  EXPECT_TRUE(watchers_->status().ok());
}

TEST_F(WatchersTest, AServerThatEndsIsAnError) {
  ASSERT_TRUE(watchers_->Open(Ten()).ok());
  watchers_->Expect(1);
  server_->process->process().Kill();
  EXPECT_EQ(watchers_->Await().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(watchers_->status().ok());
}

TEST(WatchEventsTest, ProgressIsOfNoSubscription) {
  v1::WatchResponse event;
  event.mutable_progress()->mutable_revision()->set_seq(7);
  EXPECT_FALSE(IsOfSubscription(ToBuffer(event.SerializeAsString())));
  event.set_sub_id(1);
  event.mutable_change()->set_to_seq(7);
  EXPECT_TRUE(IsOfSubscription(ToBuffer(event.SerializeAsString())));
}

}  // namespace
}  // namespace muster::bench

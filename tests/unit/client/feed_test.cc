#include "client/feed.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"
#include "client/endpoint_set.h"
#include "fake_scheduler.h"
#include "fake_transport.h"

namespace muster::client {
namespace {

using testing::FakeScheduler;
using testing::FakeTransport;
using testing::OneEndpoint;
using testing::Snapshot;

class Told : public Feed::Sink {
 public:
  void OnUpdate(const Following::Update& update, const EndpointSet& set) override {
    ids.push_back(update.id);
    sizes.push_back(set.size());
  }
  void OnLost(const absl::Status& why, const Failover::Next& next) override {
    lost.emplace_back(why.message());
    refusals += next.refused ? 1 : 0;
  }
  std::vector<Following::Id> ids;
  std::vector<size_t> sizes;
  std::vector<std::string> lost;
  int refusals = 0;
};

v1::Subscribe Service(const std::string& name) {
  v1::Subscribe subscribe;
  subscribe.set_service(name);
  return subscribe;
}

class FeedTest : public ::testing::Test {
 protected:
  void Make(size_t servers) {
    transport_ = std::make_unique<FakeTransport>(servers);
    feed_ = std::make_unique<Feed>(scheduler_, *transport_, rng_, Feed::Options{}, told_);
  }
  void Answer(const std::string& service, uint64_t seq) {
    FakeTransport::Call& call = transport_->last();
    call.Answer(Snapshot(call.SubIdOf(service), {OneEndpoint("a", seq)}, seq));
    scheduler_.Run();
  }

  FakeScheduler scheduler_;
  base::SeededRng rng_{7};
  Told told_;
  std::unique_ptr<FakeTransport> transport_;
  std::unique_ptr<Feed> feed_;
  absl::Duration waited_;
};

TEST_F(FeedTest, AllServicesShareOneStream) {
  Make(1);
  EXPECT_EQ(transport_->calls(), 0u) << "nobody wants anything";
  const auto web = feed_->Add(Service("web"));
  const auto db = feed_->Add(Service("db"));
  ASSERT_EQ(transport_->calls(), 1u);
  EXPECT_EQ(transport_->last().requests.size(), 2u);
  EXPECT_FALSE(feed_->connected());
  Answer("db", 5);
  Answer("web", 6);
  EXPECT_TRUE(feed_->connected());
  EXPECT_EQ(told_.ids, (std::vector<Following::Id>{db, web}));
  EXPECT_EQ(transport_->last().reads, 2) << "one for each event";
  feed_->Remove(db);
  EXPECT_TRUE(transport_->last().requests.back().has_unsubscribe());
}

TEST_F(FeedTest, ALostStreamIsResumedOnTheNextServer) {
  Make(2);
  feed_->Add(Service("web"));
  const size_t first = transport_->last().server;
  Answer("web", 5);
  transport_->last().End(absl::UnavailableError("gone"));
  scheduler_.Run();
  EXPECT_FALSE(feed_->connected());
  ASSERT_EQ(told_.lost.size(), 1u);
  EXPECT_EQ(told_.lost[0], transport_->address(first) + ": gone");
  EXPECT_FALSE(transport_->last().open);
  scheduler_.Advance(absl::Milliseconds(100));
  ASSERT_EQ(transport_->calls(), 2u);
  EXPECT_EQ(transport_->last().server, 1 - first);
  EXPECT_EQ(transport_->last().requests.at(0).subscribe().resume().revision().seq(), 5u);
  Answer("web", 6);
  EXPECT_TRUE(feed_->connected());
  EXPECT_TRUE(feed_->lost().ok());
}

TEST_F(FeedTest, AServerThatSaysNothingIsGivenUp) {
  Make(2);
  feed_->Add(Service("web"));
  scheduler_.Advance(absl::Milliseconds(1999));
  EXPECT_EQ(transport_->calls(), 1u);
  scheduler_.Advance(absl::Milliseconds(101));
  ASSERT_EQ(transport_->calls(), 2u);
  EXPECT_NE(transport_->call(0).server, transport_->call(1).server);
  EXPECT_TRUE(absl::IsDeadlineExceeded(feed_->lost())) << feed_->lost();
  // What the first one says now is too late.
  transport_->call(0).Answer(Snapshot(1, {OneEndpoint("a", 1)}, 1));
  scheduler_.Run();
  EXPECT_TRUE(told_.ids.empty());
}

TEST_F(FeedTest, SilenceIsALoss) {
  Make(1);
  feed_->Add(Service("web"));
  Answer("web", 5);
  v1::WatchResponse progress;
  progress.mutable_progress()->mutable_revision()->set_epoch(7);
  progress.mutable_progress()->mutable_revision()->set_seq(8);
  for (int i = 0; i < 10; ++i) {
    scheduler_.Advance(absl::Seconds(30));
    transport_->last().Answer(progress);
    scheduler_.Run();
  }
  EXPECT_TRUE(told_.lost.empty());
  scheduler_.Advance(absl::Seconds(76));
  EXPECT_EQ(told_.lost.size(), 1u);
  EXPECT_EQ(transport_->calls(), 2u);
  EXPECT_EQ(transport_->last().requests.at(0).subscribe().resume().revision().seq(), 8u);
}

TEST_F(FeedTest, WhileAllAreAwayItTriesEachAtLeastEverySecondOrTwo) {
  Make(3);
  feed_->Add(Service("web"));
  for (int i = 0; i < 60; ++i) {
    transport_->last().End(absl::UnavailableError("refused"));
    scheduler_.Advance(absl::Seconds(1));
  }
  // A pause of half a second on average, in the end.
  EXPECT_GT(transport_->calls(), 60u);
  std::set<size_t> servers;
  for (size_t i = 57; i < 60; ++i) servers.insert(transport_->call(i).server);
  EXPECT_EQ(servers.size(), 3u);
  EXPECT_EQ(told_.lost.size(), 60u);
}

TEST_F(FeedTest, ARefusedSubscriptionIsAskedForAgain) {
  Make(1);
  const auto web = feed_->Add(Service("web"));
  feed_->Add(Service("db"));
  v1::WatchResponse refusal;
  refusal.set_sub_id(transport_->last().SubIdOf("web"));
  refusal.mutable_error()->set_code(7);
  transport_->last().Answer(refusal);
  scheduler_.Run();
  EXPECT_EQ(told_.ids, std::vector<Following::Id>{web});
  scheduler_.Advance(absl::Milliseconds(4'900));
  EXPECT_EQ(transport_->last().requests.size(), 2u);
  scheduler_.Advance(absl::Milliseconds(5'200));
  ASSERT_EQ(transport_->last().requests.size(), 3u);
  EXPECT_EQ(transport_->last().requests.back().subscribe().service(), "web");
}

TEST_F(FeedTest, ItsEndLeavesNothingBehind) {
  Make(1);
  feed_->Add(Service("web"));
  FakeTransport::Call& call = transport_->last();
  v1::WatchResponse refusal;
  refusal.set_sub_id(call.SubIdOf("web"));
  refusal.mutable_error()->set_code(7);
  call.Answer(refusal);
  scheduler_.Run();  // it is to be asked for again later
  EXPECT_EQ(told_.ids.size(), 1u);
  call.Answer(refusal);
  feed_ = nullptr;
  EXPECT_FALSE(call.open);
  scheduler_.Advance(absl::Minutes(1));
  EXPECT_EQ(told_.ids.size(), 1u) << "what was posted comes too late";
  EXPECT_EQ(call.requests.size(), 1u);
}

TEST_F(FeedTest, WithoutServicesThereIsNoStream) {
  Make(1);
  const auto web = feed_->Add(Service("web"));
  Answer("web", 5);
  feed_->Remove(web);
  EXPECT_FALSE(transport_->last().open);
  scheduler_.Advance(absl::Minutes(10));
  EXPECT_EQ(transport_->calls(), 1u);
  EXPECT_TRUE(told_.lost.empty());
  feed_->Add(Service("db"));
  EXPECT_EQ(transport_->calls(), 2u);
  transport_->last().End(absl::UnavailableError("gone"));
  scheduler_.Run();
  // Also when the last one goes in a pause.
  feed_->Remove(2);
  scheduler_.Advance(absl::Minutes(10));
  EXPECT_EQ(transport_->calls(), 2u);
}

TEST_F(FeedTest, WhoIsRefusedByAllComesBackSeldom) {
  Make(2);
  feed_->Add(Service("web"));
  transport_->last().End(absl::UnauthenticatedError("token"));
  scheduler_.Advance(absl::Milliseconds(100));
  ASSERT_EQ(transport_->calls(), 2u) << "the other one may know of it";
  EXPECT_EQ(told_.refusals, 0);
  transport_->last().End(absl::UnauthenticatedError("token"));
  scheduler_.Run();
  EXPECT_EQ(told_.refusals, 1);
  scheduler_.Advance(absl::Milliseconds(4'900));
  EXPECT_EQ(transport_->calls(), 2u);
  scheduler_.Advance(absl::Milliseconds(5'200));
  EXPECT_EQ(transport_->calls(), 3u);
}

TEST_F(FeedTest, AServerThatEndsEachStreamIsNotFlooded) {
  Make(1);
  feed_->Add(Service("web"));
  for (int i = 0; i < 200; ++i) {
    Answer("web", 5);
    transport_->last().End(absl::UnavailableError("gone"));
    scheduler_.Run();
    const base::SteadyTime begin = scheduler_.Now();
    while (!transport_->last().open) scheduler_.Advance(absl::Milliseconds(1));
    if (i > 150) waited_ += scheduler_.Now() - begin;
  }
  EXPECT_GT(waited_ / 49, absl::Milliseconds(250));
}

}  // namespace
}  // namespace muster::client

#include "client/following.h"

#include <gtest/gtest.h>

#include <vector>

#include "client/wire.h"

namespace muster::client {
namespace {

v1::Subscribe Service(const std::string& name) {
  v1::Subscribe subscribe;
  subscribe.set_service(name);
  return subscribe;
}

v1::Endpoint One(const std::string& id, uint64_t revision) {
  v1::Endpoint endpoint;
  endpoint.set_id(id);
  endpoint.set_revision(revision);
  return endpoint;
}

uint64_t HashOf(const v1::Endpoint& endpoint) { return EndpointHash(FromWire(endpoint)); }

v1::WatchResponse SnapshotOf(uint64_t sub_id, const v1::Endpoint& endpoint) {
  v1::WatchResponse event;
  event.set_sub_id(sub_id);
  v1::Snapshot& snapshot = *event.mutable_snapshot();
  *snapshot.add_endpoints() = endpoint;
  snapshot.mutable_revision()->set_epoch(7);
  snapshot.mutable_revision()->set_seq(endpoint.revision());
  snapshot.set_checksum(HashOf(endpoint));
  snapshot.set_complete(true);
  return event;
}

class FollowingTest : public ::testing::Test {
 protected:
  std::vector<v1::WatchRequest> Requests() {
    std::vector<v1::WatchRequest> requests;
    while (auto request = following_.NextRequest()) requests.push_back(*std::move(request));
    return requests;
  }
  // The subscription that was asked for last.
  uint64_t Opened() {
    following_.StreamOpened();
    return Requests().at(0).subscribe().sub_id();
  }

  Following following_;
};

TEST_F(FollowingTest, AsksForAllOnEachStreamFromWhereItWasLeft) {
  const auto web = following_.Add(Service("web"));
  EXPECT_TRUE(Requests().empty()) << "there is no stream";
  following_.StreamOpened();
  following_.Add(Service("db"));
  auto requests = Requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0].subscribe().service(), "web");
  EXPECT_EQ(requests[1].subscribe().service(), "db");
  EXPECT_FALSE(requests[0].subscribe().has_resume());
  EXPECT_NE(requests[0].subscribe().sub_id(), requests[1].subscribe().sub_id());

  const auto update = following_.Take(SnapshotOf(requests[0].subscribe().sub_id(), One("a", 5)));
  ASSERT_TRUE(update.has_value());
  EXPECT_EQ(update->id, web);
  EXPECT_TRUE(update->applied.complete);
  ASSERT_EQ(following_.set(web).List().size(), 1u);
  EXPECT_EQ(following_.set(web).List()[0]->id, "a");

  v1::WatchResponse progress;
  progress.mutable_progress()->mutable_revision()->set_epoch(7);
  progress.mutable_progress()->mutable_revision()->set_seq(9);
  EXPECT_FALSE(following_.Take(progress).has_value());

  following_.StreamLost();
  EXPECT_TRUE(Requests().empty());
  EXPECT_EQ(following_.set(web).size(), 1u) << "what was known stays";
  following_.StreamOpened();
  requests = Requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0].subscribe().resume().revision().seq(), 9u);
  EXPECT_EQ(requests[0].subscribe().resume().checksum(), HashOf(One("a", 5)));
  EXPECT_FALSE(requests[1].subscribe().has_resume()) << "nothing came for it";
}

TEST_F(FollowingTest, AnEventOfAnEarlierStreamOrSubscriptionMeansNothing) {
  const auto web = following_.Add(Service("web"));
  const uint64_t first = Opened();
  const uint64_t second = Opened();
  EXPECT_FALSE(following_.Take(SnapshotOf(first, One("old", 1))).has_value());
  EXPECT_TRUE(following_.Take(SnapshotOf(second, One("new", 2))).has_value());
  following_.Remove(web);
  const auto requests = Requests();
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_EQ(requests[0].unsubscribe().sub_id(), second);
  EXPECT_FALSE(following_.Take(SnapshotOf(second, One("late", 3))).has_value());
  EXPECT_EQ(following_.size(), 0u);
  EXPECT_EQ(following_.live(), 0u);
}

TEST_F(FollowingTest, AWrongSetIsAskedForAgainAndKeptUntilThen) {
  const auto web = following_.Add(Service("web"));
  const uint64_t first = Opened();
  following_.Take(SnapshotOf(first, One("a", 5)));
  v1::WatchResponse change;
  change.set_sub_id(first);
  *change.mutable_change()->add_upserted() = One("b", 6);
  change.mutable_change()->set_to_seq(6);
  change.mutable_change()->set_checksum(1);
  const auto update = following_.Take(change);
  ASSERT_TRUE(update.has_value());
  EXPECT_NE(update->applied.problem, "");
  const auto requests = Requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0].unsubscribe().sub_id(), first);
  EXPECT_EQ(requests[1].subscribe().service(), "web");
  EXPECT_FALSE(requests[1].subscribe().has_resume());
  EXPECT_EQ(following_.set(web).size(), 2u);
  following_.Take(SnapshotOf(requests[1].subscribe().sub_id(), One("b", 6)));
  EXPECT_EQ(following_.set(web).size(), 1u);
  EXPECT_FALSE(following_.ended(web));
}

TEST_F(FollowingTest, WhatIsWrongTwiceInARowIsNotAskedForByItself) {
  const auto web = following_.Add(Service("web"));
  auto wrong = SnapshotOf(Opened(), One("a", 5));
  wrong.mutable_snapshot()->set_checksum(1);
  following_.Take(wrong);
  const auto requests = Requests();
  ASSERT_EQ(requests.size(), 2u);
  wrong.set_sub_id(requests[1].subscribe().sub_id());
  EXPECT_NE(following_.Take(wrong)->applied.problem, "");
  ASSERT_EQ(Requests().size(), 1u) << "unsubscribed, and no more";
  EXPECT_TRUE(following_.ended(web));
  EXPECT_EQ(following_.live(), 0u);
  following_.AskAgain(web);
  EXPECT_EQ(Requests().size(), 1u);
}

TEST_F(FollowingTest, ProgressConcernsWhatWasAnsweredOnThisStream) {
  const auto web = following_.Add(Service("web"));
  following_.Take(SnapshotOf(Opened(), One("a", 5)));
  Opened();
  v1::WatchResponse progress;
  progress.mutable_progress()->mutable_revision()->set_epoch(7);
  progress.mutable_progress()->mutable_revision()->set_seq(9);
  following_.Take(progress);
  EXPECT_EQ(following_.set(web).resume()->revision().seq(), 5u) << "it isn't answered yet";
}

TEST_F(FollowingTest, ConfirmsOnlyWhatIsOfThePresentSubscription) {
  const auto web = following_.Add(Service("web"));
  const uint64_t sub_id = Opened();
  following_.Take(SnapshotOf(sub_id, One("a", 5)));
  v1::WatchResponse event;
  event.set_sub_id(sub_id);
  event.mutable_change()->set_to_seq(6);
  event.mutable_change()->set_checksum(HashOf(One("a", 5)));
  EXPECT_FALSE(following_.Take(event)->ack.has_value()) << "nobody asked";
  event.mutable_change()->set_ack_requested(true);
  const auto update = following_.Take(event);
  ASSERT_TRUE(update->ack.has_value());
  following_.Confirm(web, *update->ack);
  const auto requests = Requests();
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_EQ(requests[0].ack().sub_id(), sub_id);
  EXPECT_EQ(requests[0].ack().seq(), 6u);
  following_.StreamLost();
  following_.Confirm(web, *update->ack);
  EXPECT_TRUE(Requests().empty());
  EXPECT_NE(Opened(), sub_id);
  following_.Confirm(web, *update->ack);
  EXPECT_TRUE(Requests().empty()) << "of the stream before";
  following_.Remove(web);
  Requests();
  following_.Confirm(web, *update->ack);
  EXPECT_TRUE(Requests().empty());
}

TEST_F(FollowingTest, WhatTheServerEndedIsNotAskedForAgainByItself) {
  const auto web = following_.Add(Service("web"));
  following_.Add(Service("db"));
  const uint64_t sub_id = Opened();
  v1::WatchResponse error;
  error.set_sub_id(sub_id);
  error.mutable_error()->set_code(7);
  error.mutable_error()->set_message("no right");
  const auto update = following_.Take(error);
  ASSERT_TRUE(update.has_value());
  ASSERT_TRUE(update->ended.has_value());
  EXPECT_EQ(update->ended->message(), "no right");
  EXPECT_EQ(following_.live(), 1u);
  following_.StreamOpened();
  ASSERT_EQ(Requests().size(), 1u);
  following_.AskAgain(web);
  const auto requests = Requests();
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_EQ(requests[0].subscribe().service(), "web");
  following_.AskAgain(web);
  EXPECT_TRUE(Requests().empty()) << "it is asked for";
  EXPECT_EQ(following_.live(), 2u);
}

TEST(WireTest, AnEndpointsFieldsAndAQuerysConditions) {
  v1::Endpoint wire = One("api-1", 9);
  wire.set_node("n1");
  wire.set_address("10.0.0.7");
  wire.set_port(8080);
  wire.add_additional_addresses("fd00::7");
  (*wire.mutable_named_ports())["admin"] = 9090;
  wire.add_tags("v2");
  (*wire.mutable_metadata())["team"] = "core";
  wire.mutable_weight()->set_passing(10);
  wire.mutable_weight()->set_warning(3);
  wire.mutable_locality()->set_region("eu");
  wire.mutable_locality()->set_zone("eu-1");
  wire.mutable_locality()->set_sub_zone("rack-7");
  wire.set_version("1.2");
  wire.set_protocol("grpc");
  wire.set_health(v1::WARNING);
  wire.set_state(v1::DRAINING);
  const Endpoint expected{.id = "api-1",
                          .node = "n1",
                          .address = {"10.0.0.7", 8080},
                          .more_hosts = {"fd00::7"},
                          .named_ports = {{"admin", 9090}},
                          .tags = {"v2"},
                          .metadata = {{"team", "core"}},
                          .version = "1.2",
                          .protocol = "grpc",
                          .region = "eu",
                          .zone = "eu-1",
                          .sub_zone = "rack-7",
                          .passing_weight = 10,
                          .warning_weight = 3,
                          .health = Endpoint::Health::kWarning,
                          .state = Endpoint::State::kDraining,
                          .revision = 9};
  EXPECT_EQ(FromWire(wire), expected);
  EXPECT_EQ(expected.weight(), 3u);
  wire.set_health(static_cast<v1::Health>(9));
  wire.set_state(static_cast<v1::State>(9));
  EXPECT_EQ(FromWire(wire).weight(), 0u) << "of a newer server, and not known to be well";
  EXPECT_EQ(FromWire(wire).state, Endpoint::State::kMaintenance);

  const auto target = ParseTarget("muster:///api?tag=v2&meta.team=core&version=1.2&health=warning");
  ASSERT_TRUE(target.ok());
  const v1::Subscribe subscribe = ToSubscribe(target->query);
  EXPECT_EQ(subscribe.namespace_(), "default");
  EXPECT_EQ(subscribe.service(), "api");
  EXPECT_EQ(subscribe.selector().all_tags(0), "v2");
  EXPECT_EQ(subscribe.selector().metadata().at("team"), "core");
  EXPECT_EQ(subscribe.selector().version(), "1.2");
  EXPECT_EQ(subscribe.selector().min_health(), v1::Selector::WARNING);
  EXPECT_FALSE(subscribe.selector().include_draining());
}

}  // namespace
}  // namespace muster::client

#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

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

class DeregisterTest : public ::testing::Test {
 protected:
  // Three instances of web, in pages of two; the third is permanent.
  DeregisterTest() {
    server_.admin.list_leases = [this](const auto& request, auto* response) {
      lists_.Add(request);
      if (request.service() == "none") return Ok();
      if (request.page_token().empty()) {
        AddLease(response, "web-1", 11);
        AddLease(response, "web-2", 12);
        response->set_next_page_token("2");
      } else {
        AddLease(response, "web-3", 13);
        response->mutable_leases(0)->set_permanent(true);
      }
      return Ok();
    };
    server_.registry.deregister = [this](const auto& request, auto* response) {
      calls_.Add(request);
      if (request.key().id() == stale_) {
        return Refused(grpc::StatusCode::FAILED_PRECONDITION, "STALE_INCARNATION", "a newer life");
      }
      response->mutable_revision()->set_seq(99);
      return Ok();
    };
  }

  static void AddLease(v1::ListLeasesResponse* response, const std::string& id, uint64_t life) {
    auto* lease = response->add_leases();
    lease->mutable_key()->set_namespace_("default");
    lease->mutable_key()->set_service("web");
    lease->mutable_key()->set_node("n1");
    lease->mutable_key()->set_id(id);
    lease->set_incarnation(life);
    lease->mutable_ttl()->set_seconds(30);
    lease->mutable_remaining()->set_seconds(5);
  }

  // Set before the calls.
  std::string stale_;
  Recorder<v1::ListLeasesRequest> lists_;
  Recorder<v1::DeregisterRequest> calls_;
  // Last: its calls end before what they use.
  FakeServer server_;
};

TEST_F(DeregisterTest, OneByKey) {
  const Ran ran =
      RunAt(server_, {"deregister", "web", "web-1", "--node", "n1", "--incarnation", "11"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "deregistered default/web node n1 id web-1\n");
  ASSERT_EQ(calls_.All().size(), 1u);
  EXPECT_EQ(calls_.All()[0].incarnation(), 11u);
  EXPECT_EQ(calls_.All()[0].key().node(), "n1");
  EXPECT_EQ(RunAt(server_, {"-o", "json", "deregister", "web", "web-1"}).out,
            "{\"revision\":{\"seq\":\"99\"}}\n");
}

TEST_F(DeregisterTest, ANewerLifeIsNotTouched) {
  stale_ = "web-1";
  const Ran ran = RunAt(server_, {"deregister", "web", "web-1", "--incarnation", "3"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("FAILED_PRECONDITION (STALE_INCARNATION): a newer life"));
}

TEST_F(DeregisterTest, AllOfAServiceWithTheLivesThatWereListed) {
  const Ran ran = RunAt(server_, {"deregister", "--service", "web", "--yes"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "deregistered 3 of 3 instances\n");
  ASSERT_EQ(calls_.All().size(), 3u);
  for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(calls_.All()[i].incarnation(), 11 + i);
  ASSERT_EQ(lists_.All().size(), 2u);
  EXPECT_EQ(lists_.All()[0].service(), "web");
  EXPECT_EQ(lists_.All()[0].namespace_(), "default");
  EXPECT_TRUE(lists_.All()[0].include_permanent());
}

TEST_F(DeregisterTest, AllOfANodeInAllNamespaces) {
  EXPECT_EQ(RunAt(server_, {"deregister", "--node", "n1", "--namespace", "*", "-y"}).code, 0);
  EXPECT_EQ(lists_.All()[0].node(), "n1");
  EXPECT_EQ(lists_.All()[0].namespace_(), "");
  EXPECT_EQ(calls_.All().size(), 3u);
}

TEST_F(DeregisterTest, FailuresAreCounted) {
  stale_ = "web-2";
  const Ran ran = RunAt(server_, {"deregister", "--service", "web", "--yes", "-o", "json"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("default/web node n1 id web-2: "));
  v1::ListLeasesResponse gone;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(ran.out, &gone).ok()) << ran.out;
  ASSERT_EQ(gone.leases_size(), 2);
  EXPECT_EQ(gone.leases(1).key().id(), "web-3");
}

TEST_F(DeregisterTest, PeopleAreShownAndAsked) {
  const Ran no =
      RunAt(server_, {"deregister", "--service", "web"}, {.input = "\n", .interactive = true});
  EXPECT_EQ(no.code, 1);
  EXPECT_THAT(no.err, HasSubstr("default    web      n1    web-2  12           30s        5s\n"));
  EXPECT_THAT(no.err, HasSubstr("default    web      n1    web-3  13           permanent  -\n"));
  EXPECT_THAT(no.err, HasSubstr("Deregister these 3 instances? [y/N] "));
  EXPECT_TRUE(calls_.All().empty());
  const Ran yes =
      RunAt(server_, {"deregister", "--service", "web"}, {.input = " Y \n", .interactive = true});
  EXPECT_EQ(yes.code, 0);
  EXPECT_EQ(calls_.All().size(), 3u);
}

TEST_F(DeregisterTest, ProgramsHaveToSayYes) {
  const Ran ran = RunAt(server_, {"deregister", "--service", "web"}, {.input = "y\n"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, HasSubstr("muster: give --yes to deregister these 3 instances"));
  EXPECT_TRUE(calls_.All().empty());
}

TEST_F(DeregisterTest, OneIsThisOne) {
  server_.admin.list_leases = [](const auto&, auto* response) {
    response->add_leases()->mutable_key()->set_service("web");
    return Ok();
  };
  EXPECT_THAT(RunAt(server_, {"deregister", "--service", "web"}).err,
              HasSubstr("muster: give --yes to deregister this instance;"));
}

TEST_F(DeregisterTest, NobodyThereIsAFailure) {
  const Ran ran = RunAt(server_, {"deregister", "--service", "none", "--yes"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.err, "muster: there is no such instance\n");
}

}  // namespace
}  // namespace muster::cli

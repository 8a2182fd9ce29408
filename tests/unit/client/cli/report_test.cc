// report: what a check found.
#include <gmock/gmock.h>
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

class ReportTest : public ::testing::Test {
 protected:
  ReportTest() {
    server_.registry.report_health = [this](const auto& request, auto* response) {
      response->set_changed(reports_.Add(request) == 1);
      response->mutable_revision()->set_seq(5);
      return Ok();
    };
  }

  Recorder<v1::ReportHealthRequest> reports_;
  FakeServer server_;
};

TEST_F(ReportTest, SaysWhatChanged) {
  const std::vector<std::string> words = {"report", "web", "web-1", "main", "Critical"};
  EXPECT_EQ(RunAt(server_, words).out, "default/web id web-1 check main is now critical\n");
  const Ran again = RunAt(server_, words);
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(again.out, "default/web id web-1 check main is still critical\n");
  const v1::ReportHealthRequest request = reports_.All().at(0);
  EXPECT_EQ(request.key().namespace_(), "default");
  EXPECT_EQ(request.key().node(), "");
  EXPECT_EQ(request.check_id(), "main");
  EXPECT_EQ(request.status(), v1::CRITICAL);
  EXPECT_EQ(request.output(), "");
  EXPECT_EQ(request.incarnation(), 0u);
}

TEST_F(ReportTest, SendsAllThatIsGiven) {
  const Ran ran =
      RunAt(server_, {"-o", "json", "report", "web", "web-1", "main", "warning", "--output",
                      "disk\nfull", "--node", "n1", "--namespace", "shop", "--incarnation", "42"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "{\"revision\":{\"seq\":\"5\"},\"changed\":true}\n");
  const v1::ReportHealthRequest request = reports_.All().at(0);
  EXPECT_EQ(request.key().namespace_(), "shop");
  EXPECT_EQ(request.key().node(), "n1");
  EXPECT_EQ(request.status(), v1::WARNING);
  EXPECT_EQ(request.output(), "disk\nfull");
  EXPECT_EQ(request.incarnation(), 42u);
}

TEST_F(ReportTest, ACheckMayHaveSaidNothing) {
  const Ran ran = RunAt(server_, {"report", "web", "web-1", "main", "passing", "--output", ""});
  EXPECT_EQ(ran.code, 0) << ran.err;
}

TEST_F(ReportTest, RefusalsAreFailures) {
  server_.registry.report_health = [](const auto&, auto*) {
    return Refused(grpc::StatusCode::NOT_FOUND, "INSTANCE_NOT_FOUND", "no such instance");
  };
  const Ran ran = RunAt(server_, {"report", "web", "web-1", "main", "passing"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("no such instance; an instance that has a node needs --node"));
  server_.registry.report_health = [](const auto&, auto*) {
    return Refused(grpc::StatusCode::NOT_FOUND, "CHECK_NOT_FOUND", "no such check");
  };
  EXPECT_THAT(RunAt(server_, {"report", "web", "web-1", "main", "passing"}).err,
              ::testing::EndsWith("no such check\n"));
}

}  // namespace
}  // namespace muster::cli

// register --file: one instance or several, from a file or standard input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "fake_server.h"

namespace muster::cli {
namespace {

using testing::FakeServer;
using ::testing::HasSubstr;
using testing::Ok;
using testing::Ran;
using testing::Recorder;
using testing::RunAt;

void Take(const v1::RegisterRequest& request, v1::RegisterResponse* response) {
  response->mutable_key()->set_namespace_("default");
  response->mutable_key()->set_service(request.instance().service());
  response->mutable_key()->set_id(request.instance().id());
  response->set_incarnation(7);
  response->set_changed(true);
  if (!request.permanent()) response->mutable_ttl()->set_seconds(30);
}

class RegisterFileTest : public ::testing::Test {
 protected:
  RegisterFileTest() {
    server_.registry.register_ = [this](const auto& request, auto* response) {
      one_.Add(request);
      Take(request, response);
      return Ok();
    };
    server_.registry.batch_register = [this](const auto& request, auto* response) {
      many_.Add(request);
      for (const auto& item : request.requests()) {
        auto* result = response->add_results();
        if (item.instance().id() == "bad") {
          result->mutable_status()->set_code(3);
          result->mutable_status()->set_message("no \x1b[31mport");
        } else {
          Take(item, result->mutable_response());
        }
      }
      return Ok();
    };
  }

  // Registers what is on standard input.
  Ran Register(const std::string& text, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"register", "--file", "-"});
    return RunAt(server_, more, {.input = text});
  }

  Recorder<v1::RegisterRequest> one_;
  Recorder<v1::BatchRegisterRequest> many_;
  FakeServer server_;
};

TEST_F(RegisterFileTest, OneOfAFile) {
  const std::string path = ::testing::TempDir() + "/register_file_test.yaml";
  std::ofstream(path) << "service: web\nid: web-1\nport: 80\nttl: 15s\nchecks:\n- tcp:\n";
  const Ran ran = RunAt(server_, {"register", "-f", path});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "registered default/web id web-1 incarnation 7 ttl 30s\n");
  EXPECT_EQ(one_.All().at(0).ttl().seconds(), 15);
  EXPECT_TRUE(one_.All().at(0).instance().checks(0).has_tcp());
  std::ofstream(path) << "service: web\npor: 80\n";
  const Ran bad = RunAt(server_, {"register", "-f", path});
  EXPECT_EQ(bad.code, 2);
  EXPECT_EQ(bad.err, "muster: " + path + ":2: unknown key \"por\"; did you mean \"port\"?\n");
  std::filesystem::remove(path);
}

TEST_F(RegisterFileTest, FlagsAddToOneAndOverrideIt) {
  const Ran ran =
      Register("service: web\nid: a\nport: 80\ntags: [x]\nttl: 15s\nchecks: [{tcp: }]\n",
               {"--id", "b", "--tag", "y", "--ttl", "20s", "--probe", "http:/,id=h"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  const v1::RegisterRequest request = one_.All().at(0);
  EXPECT_EQ(request.instance().id(), "b");
  EXPECT_EQ(request.instance().port(), 80u);
  EXPECT_THAT(request.instance().tags(), ::testing::ElementsAre("x", "y"));
  EXPECT_EQ(request.ttl().seconds(), 20);
  ASSERT_EQ(request.instance().checks_size(), 2);
  EXPECT_EQ(request.instance().checks(1).id(), "h");
}

TEST_F(RegisterFileTest, TheFlagsLeaseIsTheOneThatCounts) {
  EXPECT_EQ(Register("{service: web, ttl: 15s}", {"--permanent"}).code, 0);
  EXPECT_TRUE(one_.All().at(0).permanent());
  EXPECT_FALSE(one_.All().at(0).has_ttl());
  EXPECT_EQ(Register("{service: web, permanent: true}", {"--ttl", "15s"}).code, 0);
  EXPECT_FALSE(one_.All().at(1).permanent());
  const Ran kept = Register("{service: web, permanent: true}", {"--keepalive"});
  EXPECT_EQ(kept.code, 2);
  EXPECT_THAT(kept.err, HasSubstr("--keepalive: the file says permanent, so there is no lease"));
}

TEST_F(RegisterFileTest, SeveralGoInOneCall) {
  const Ran ran =
      Register("instances:\n- {service: web, id: a}\n- {service: api, id: b, permanent: true}\n");
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out,
            "registered default/web id a incarnation 7 ttl 30s\n"
            "registered default/api id b incarnation 7 permanent\n");
  EXPECT_TRUE(one_.All().empty());
  ASSERT_EQ(many_.All().size(), 1u);
  EXPECT_TRUE(many_.All()[0].requests(1).permanent());
}

TEST_F(RegisterFileTest, OneOfSeveralThatIsRefusedIsAFailure) {
  const std::string text = "service: web\nid: a\n---\nservice: web\nid: bad\nnode: \"n\\e\"\n";
  const Ran ran = Register(text);
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.out, "registered default/web id a incarnation 7 ttl 30s\n");
  EXPECT_EQ(ran.err,
            "muster: instance 2, default/web node n\\x1b id bad: INVALID_ARGUMENT: no "
            "\\x1b[31mport\n"
            "muster: 1 of 2 instances was not registered\n");
  const Ran json = Register(text, {"-o", "json"});
  EXPECT_EQ(json.code, 1);
  EXPECT_THAT(json.out, HasSubstr("{\"results\":[{\"response\":"));
}

TEST_F(RegisterFileTest, FlagsDoNotGoWithSeveral) {
  const std::string two = "service: a\n---\nservice: b\n";
  const Ran ran = Register(two, {"--tag", "x"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_EQ(ran.err,
            "muster: --tag goes with a file of one instance; this one has 2; see muster register "
            "--help\n");
  for (const std::vector<std::string>& flags : std::vector<std::vector<std::string>>{
           {"--keepalive"}, {"--ttl", "3s"}, {"--permanent"}, {"web:80"}, {"--probe", "tcp"}}) {
    EXPECT_EQ(Register(two, flags).code, 2) << flags[0];
  }
  EXPECT_TRUE(many_.All().empty());
  // Those of all commands do.
  EXPECT_EQ(Register(two, {"--timeout", "5s"}).code, 0);
}

TEST_F(RegisterFileTest, WhatIsWrongWithStandardInput) {
  EXPECT_EQ(Register("").err,
            "muster: standard input: holds no instance; see muster register --help\n");
  EXPECT_EQ(Register("port: 80\n").err,
            "muster: the file names no service; see muster register --help\n");
  EXPECT_EQ(Register("port: 80\n---\nservice: b\n").err,
            "muster: instance 1 of the file names no service; see muster register --help\n");
  EXPECT_EQ(Register(std::string((1 << 20) + 1, '#')).err,
            "muster: standard input: has more than 1048576 bytes; see muster register --help\n");
  EXPECT_EQ(Register(std::string(1 << 20, '#')).err,
            "muster: standard input: holds no instance; see muster register --help\n");
}

TEST_F(RegisterFileTest, AServerThatForgetsOneIsAFailure) {
  server_.registry.batch_register = [](const auto&, auto*) { return Ok(); };
  const Ran ran = Register("service: a\n---\nservice: b\n");
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.err, "muster: the server did not answer for each instance\n");
}

}  // namespace
}  // namespace muster::cli

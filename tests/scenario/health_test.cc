// Checks that musterd runs, against real targets that fail in every way: what status they get, what
// is said of them, and how soon watchers hear of it.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/scenario/certificates.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kService[] = "targets";
constexpr absl::Duration kInterval = absl::Seconds(1);
constexpr absl::Duration kTimeout = absl::Milliseconds(500);
constexpr int kFailures = 2;
const absl::Duration kBound = kFailures * kInterval + kTimeout + absl::Milliseconds(250);

enum class Kind { kHttp, kHttps, kGrpc, kTcp };

// A process to be checked, and its mode.
class Target {
 public:
  Target(const TempDir& dir, const std::string& name, Kind kind, const Authority& authority)
      : kind_(kind), mode_(dir.path(name + ".mode")) {
    Say(kind == Kind::kGrpc ? "serving" : "200");
    std::vector<std::string> argv;
    if (kind == Kind::kGrpc) {
      argv = {BinDir() + "/../tests/bin/grpc_target_process", mode_};
    } else {
      argv = {"/usr/bin/python3", MUSTER_SCENARIO_DIR "/health_target.py", mode_};
    }
    if (kind == Kind::kHttps) {
      argv.push_back(authority.cert("target"));
      argv.push_back(authority.key("target"));
    }
    process_ = std::make_unique<Process>(argv);
    EXPECT_TRUE(absl::SimpleAtoi(process_->ReadLine().value_or(""), &port_)) << name;
  }
  void Say(const std::string& mode) { WriteText(mode_, mode); }
  void Signal(int signal) { process_->Signal(signal); }
  int port() const { return port_; }

  v1::Check Check() const {
    v1::Check check;
    check.set_id("up");
    switch (kind_) {
      case Kind::kHttp:
        check.mutable_http()->set_url("/health");
        break;
      case Kind::kHttps:
        check.mutable_http()->set_url("/health");
        check.mutable_http()->set_tls(true);
        break;
      case Kind::kGrpc:
        check.mutable_grpc();
        break;
      case Kind::kTcp:
        check.mutable_tcp();
        break;
    }
    check.mutable_interval()->set_seconds(absl::ToInt64Seconds(kInterval));
    check.mutable_timeout()->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(kTimeout)));
    check.set_failures_before_critical(kFailures);
    return check;
  }

 private:
  const Kind kind_;
  const std::string mode_;
  std::unique_ptr<Process> process_;
  int port_ = 0;
};

struct Case {
  std::string name;
  Kind kind;
  std::function<void(Target&)> fault;
  v1::Health status;   // that it comes to
  std::string output;  // part of what is said
  absl::Duration bound = kBound;
  std::function<void(Target&)> repair = nullptr;  // null: it stays as it is
};

std::function<void(Target&)> Says(const std::string& mode) {
  return [mode](Target& target) { target.Say(mode); };
}
std::function<void(Target&)> Gets(int signal) {
  return [signal](Target& target) { target.Signal(signal); };
}

std::vector<Case> Cases() {
  const auto well = Says("200");
  const absl::Duration soon = absl::Milliseconds(250);
  return {
      {"http-500", Kind::kHttp, Says("500"), v1::CRITICAL, "HTTP 500", kBound, well},
      // A warning is no failure: the first run tells.
      {"http-429", Kind::kHttp, Says("429"), v1::WARNING, "HTTP 429", kInterval + soon, well},
      {"http-302", Kind::kHttp, Says("302"), v1::CRITICAL, "HTTP 302", kBound, well},
      {"http-garbage", Kind::kHttp, Says("garbage"), v1::CRITICAL, "no HTTP answer", kBound, well},
      {"http-large", Kind::kHttp, Says("large"), v1::PASSING, "HTTP 200"},
      {"http-slow-head", Kind::kHttp, Says("slow-head"), v1::CRITICAL, "timed out", kBound, well},
      {"http-slow-body", Kind::kHttp, Says("slow-body"), v1::PASSING, "HTTP 200"},
      {"http-nothing", Kind::kHttp, Says("nothing"), v1::CRITICAL, "timed out", kBound, well},
      {"http-close", Kind::kHttp, Says("close"), v1::CRITICAL, "", kBound, well},
      {"http-closed", Kind::kHttp, Says("closed"), v1::CRITICAL, "refused", kBound, well},
      {"http-stop", Kind::kHttp, Gets(SIGSTOP), v1::CRITICAL, "timed out", kBound, Gets(SIGCONT)},
      {"http-kill", Kind::kHttp, Gets(SIGKILL), v1::CRITICAL, "refused"},
      {"https-500", Kind::kHttps, Says("500"), v1::CRITICAL, "HTTP 500", kBound, well},
      {"https-closed", Kind::kHttps, Says("closed"), v1::CRITICAL, "refused", kBound, well},
      {"https-stop", Kind::kHttps, Gets(SIGSTOP), v1::CRITICAL, "timed out", kBound, Gets(SIGCONT)},
      {"https-kill", Kind::kHttps, Gets(SIGKILL), v1::CRITICAL, "refused"},
      {"grpc-not-serving", Kind::kGrpc, Says("not"), v1::CRITICAL, "NOT_SERVING", soon,
       Says("serving")},
      {"grpc-stop", Kind::kGrpc, Gets(SIGSTOP), v1::CRITICAL, "", kBound, Gets(SIGCONT)},
      {"grpc-kill", Kind::kGrpc, Gets(SIGKILL), v1::CRITICAL, ""},
      {"tcp-closed", Kind::kTcp, Says("closed"), v1::CRITICAL, "refused", kBound, well},
      // The kernel accepts for it.
      {"tcp-stop", Kind::kTcp, Gets(SIGSTOP), v1::PASSING, "connected"},
      {"tcp-kill", Kind::kTcp, Gets(SIGKILL), v1::CRITICAL, "refused"},
  };
}

class HealthScenarioTest : public testing::Test {
 protected:
  void Start(std::vector<std::string> flags = {}) {
    server_ = std::make_unique<Musterd>(dir_.path("data"), std::move(flags));
    remote_ = std::make_unique<Remote>(server_->address());
  }
  v1::RegisterResponse Register(const std::string& id, int port, const v1::Check& check) {
    v1::RegisterRequest request;
    request.set_permanent(true);
    request.mutable_instance()->set_service(kService);
    request.mutable_instance()->set_id(id);
    request.mutable_instance()->set_address("127.0.0.1");
    request.mutable_instance()->set_port(static_cast<uint32_t>(port));
    *request.mutable_instance()->add_checks() = check;
    v1::RegisterResponse response;
    const grpc::Status status = remote_->Register(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  v1::DescribeInstanceResponse Describe(const std::string& id) {
    grpc::ClientContext context;
    Remote::Prepare(context);
    v1::DescribeInstanceRequest request;
    request.mutable_key()->set_service(kService);
    request.mutable_key()->set_id(id);
    v1::DescribeInstanceResponse response;
    const grpc::Status status = remote_->discovery->DescribeInstance(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  std::vector<std::string> Discovered() {
    std::vector<std::string> ids;
    const v1::DiscoverResponse answer = remote_->Discover(kService);
    for (const auto& endpoint : answer.endpoints()) ids.push_back(endpoint.id());
    return ids;
  }
  bool IsDiscovered(const std::string& id) {
    const auto ids = Discovered();
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  }

  TempDir dir_;
  Authority authority_{dir_.path("ca")};
  std::unique_ptr<Musterd> server_;
  std::unique_ptr<Remote> remote_;
};

TEST_F(HealthScenarioTest, EachFaultIsToldInItsTime) {
  authority_.Issue("target");
  WriteText(dir_.path("config.yaml"), absl::StrCat("health: {ca: \"", authority_.ca(), "\"}\n"));
  Start({"--config", dir_.path("config.yaml")});
  const std::vector<Case> cases = Cases();
  std::vector<std::unique_ptr<Target>> targets;
  for (const Case& one : cases) {
    targets.push_back(std::make_unique<Target>(dir_, one.name, one.kind, authority_));
    Register(one.name, targets.back()->port(), targets.back()->Check());
  }
  Watcher watcher(server_->address(), kService);
  ASSERT_TRUE(Eventually([&] { return watcher.ids().size() == cases.size(); }))
      << testing::PrintToString(watcher.ids());
  Pause(kInterval + kTimeout);

  std::vector<absl::Time> broken;
  for (size_t i = 0; i < cases.size(); ++i) {
    broken.push_back(Now());
    cases[i].fault(*targets[i]);
  }
  Pause(kBound + absl::Milliseconds(100));
  const auto gone = watcher.gone();
  for (size_t i = 0; i < cases.size(); ++i) {
    const Case& one = cases[i];
    const auto state = Describe(one.name).checks(0);
    EXPECT_EQ(state.latest().status(), one.status) << one.name << ": " << state.latest().output();
    EXPECT_EQ(IsDiscovered(one.name), one.status == v1::PASSING) << one.name;
    if (one.status == v1::PASSING) {
      EXPECT_FALSE(gone.contains(one.name)) << one.name;
      continue;
    }
    EXPECT_THAT(state.latest().output(), HasSubstr(one.output)) << one.name;
    ASSERT_TRUE(gone.contains(one.name)) << one.name;
    EXPECT_LE(gone.at(one.name) - broken[i], one.bound) << one.name;
  }

  for (size_t i = 0; i < cases.size(); ++i) {
    if (cases[i].repair != nullptr) cases[i].repair(*targets[i]);
  }
  for (const Case& one : cases) {
    if (one.repair == nullptr) continue;
    EXPECT_TRUE(Eventually([&] { return IsDiscovered(one.name); }, absl::Seconds(5))) << one.name;
  }
}

TEST_F(HealthScenarioTest, StatusAndHistoryOutliveTheServer) {
  Target target(dir_, "target", Kind::kHttp, authority_);
  Start();
  Register("a", target.port(), target.Check());
  ASSERT_TRUE(Eventually([&] { return IsDiscovered("a"); }));
  target.Say("500");
  ASSERT_TRUE(Eventually([&] { return !IsDiscovered("a"); }));
  const auto before = Describe("a").checks(0);
  ASSERT_EQ(before.transitions_size(), 2);
  server_->Kill();
  target.Say("nothing");
  Start();
  const auto after = Describe("a").checks(0);
  EXPECT_EQ(after.latest().status(), v1::CRITICAL);
  ASSERT_EQ(after.transitions_size(), 2);
  EXPECT_EQ(after.transitions(1).SerializeAsString(), before.transitions(1).SerializeAsString());
  target.Say("200");
  EXPECT_TRUE(Eventually([&] { return IsDiscovered("a"); })) << "and it is probed again";
}

TEST_F(HealthScenarioTest, RegisteringAgainKeepsTheStatus) {
  Target target(dir_, "target", Kind::kHttp, authority_);
  Start();
  Register("a", target.port(), target.Check());
  ASSERT_TRUE(Eventually([&] { return IsDiscovered("a"); }));
  Watcher watcher(server_->address(), kService);
  ASSERT_TRUE(Eventually([&] { return watcher.ids().size() == 1; }));
  EXPECT_FALSE(Register("a", target.port(), target.Check()).changed());
  Pause(2 * kInterval);
  EXPECT_TRUE(watcher.gone().empty());
}

TEST_F(HealthScenarioTest, OnlyTheUnreachableIsDeregistered) {
  Target answers(dir_, "answers", Kind::kHttp, authority_);
  Target vanishes(dir_, "vanishes", Kind::kHttp, authority_);
  Start();
  v1::Check check = answers.Check();
  check.mutable_deregister_after_critical()->set_seconds(2);
  Register("answers", answers.port(), check);
  Register("vanishes", vanishes.port(), check);
  ASSERT_TRUE(Eventually([&] { return Discovered().size() == 2; }));
  answers.Say("503");
  vanishes.Signal(SIGKILL);
  v1::Selector any;
  any.set_min_health(v1::Selector::ANY);
  EXPECT_TRUE(Eventually([&] { return remote_->Discover(kService, &any).endpoints_size() == 1; },
                         absl::Seconds(8)));
  Pause(absl::Seconds(2));
  const auto left = remote_->Discover(kService, &any);
  ASSERT_EQ(left.endpoints_size(), 1);
  EXPECT_EQ(left.endpoints(0).id(), "answers");
}

TEST_F(HealthScenarioTest, ATtlWithoutReportsIsCriticalInTime) {
  Start();
  v1::Check check;
  check.set_id("self");
  check.mutable_ttl()->mutable_ttl()->set_seconds(1);
  check.set_initial_status(v1::PASSING);
  Register("a", 80, check);
  v1::InstanceKey key;
  key.set_service(kService);
  key.set_id("a");
  Watcher watcher(server_->address(), kService);
  for (int i = 0; i < 10; ++i) {
    v1::ReportHealthResponse response;
    ASSERT_TRUE(remote_->Report(key, 0, "self", v1::PASSING, &response).ok());
    Pause(absl::Milliseconds(300));
  }
  EXPECT_TRUE(watcher.gone().empty());
  v1::ReportHealthResponse response;
  ASSERT_TRUE(remote_->Report(key, 0, "self", v1::PASSING, &response).ok());
  const absl::Time last = Now();
  ASSERT_TRUE(Eventually([&] { return watcher.gone().contains("a"); }));
  EXPECT_GE(watcher.gone().at("a") - last, absl::Milliseconds(990));
  EXPECT_LE(watcher.gone().at("a") - last, absl::Milliseconds(1250));
  EXPECT_EQ(Describe("a").checks(0).latest().output(), "no report for 1s");
}

// A registration must not make the server ask what only it can reach.
TEST_F(HealthScenarioTest, TheServerAsksOnlyWhereItMay) {
  Target target(dir_, "target", Kind::kHttp, authority_);
  const std::string ports = absl::StrCat("80,", target.port());
  WriteText(dir_.path("config.yaml"),
            absl::StrCat("health: {allow: [10.0.0.0/8], ports: [", ports, "]}\n"));
  Start({"--config", dir_.path("config.yaml")});
  Register("loopback", target.port(), target.Check());
  v1::Check check = target.Check();
  check.mutable_http()->set_url(absl::StrCat("http://localhost:", target.port(), "/"));
  Register("name", 80, check);
  check.mutable_http()->set_url("http://169.254.169.254/latest/meta-data/");
  Register("metadata", 80, check);
  check.mutable_http()->set_url("http://10.0.0.1:81/");
  Register("port", 80, check);
  for (const std::string id : {"loopback", "name", "metadata", "port"}) {
    EXPECT_TRUE(Eventually([&] { return Describe(id).checks(0).has_latest(); })) << id;
    const auto latest = Describe(id).checks(0).latest();
    EXPECT_EQ(latest.status(), v1::CRITICAL) << id;
    EXPECT_THAT(latest.output(), HasSubstr("may not be probed")) << id;
  }
}

// What a target says reaches neither a terminal nor a log as it came.
TEST_F(HealthScenarioTest, WhatATargetSaysIsEscaped) {
  Target target(dir_, "target", Kind::kHttp, authority_);
  target.Say("escape");
  Process server(
      {BinDir() + "/musterd", "--data-dir", dir_.path("data"), "--grpc-listen", "127.0.0.1:0"},
      dir_.path("log"));
  const std::string ready = server.ReadLine().value_or("");
  const std::string address = ready.substr(ready.find('=') + 1);
  remote_ = std::make_unique<Remote>(address);
  Register("a", target.port(), target.Check());
  ASSERT_TRUE(Eventually([&] { return Describe("a").checks(0).has_latest(); }));
  EXPECT_THAT(Describe("a").checks(0).latest().output(), HasSubstr("\x1b]0;owned\x07"))
      << "the target's own words are kept";
  target.Signal(SIGKILL);
  ASSERT_TRUE(Eventually([&] { return Describe("a").checks(0).transitions_size() == 2; }));
  std::string shown = ReadText(dir_.path("log"));
  const std::vector<std::vector<std::string>> commands = {{"describe", kService, "a"},
                                                          {"health", kService}};
  for (const auto& command : commands) {
    std::vector<std::string> argv = {BinDir() + "/muster", "--addr", address};
    argv.insert(argv.end(), command.begin(), command.end());
    Process muster(argv);
    std::string out;
    while (const auto line = muster.ReadLine()) absl::StrAppend(&out, *line, "\n");
    EXPECT_EQ(muster.Wait(), 0) << command[0];
    EXPECT_THAT(out, HasSubstr("critical"));
    shown += out;
  }
  EXPECT_THAT(shown, HasSubstr("\\x1b"));
  EXPECT_EQ(shown.find_first_of("\x1b\x07\r"), std::string::npos) << shown;
  EXPECT_THAT(shown, Not(HasSubstr("\nlevel=error msg=forged")));
}

}  // namespace
}  // namespace muster::test

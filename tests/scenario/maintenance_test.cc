// What operators say of instances and services, against a real server: it outlives crashes of the
// server, lives of the instance, and a restore.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

constexpr char kService[] = "web";
constexpr char kNode[] = "n1";

v1::RegisterRequest Request(const std::string& id, char life = 'a') {
  v1::RegisterRequest request;
  v1::Instance* instance = request.mutable_instance();
  instance->set_service(kService);
  instance->set_node(kNode);
  instance->set_id(id);
  instance->set_address("10.0.0.1");
  instance->set_port(80);
  request.set_life_id(std::string(16, life));
  request.set_permanent(true);
  return request;
}

v1::SetMaintenanceRequest OfInstance(const std::string& id, bool on) {
  v1::SetMaintenanceRequest request;
  request.mutable_key()->set_service(kService);
  request.mutable_key()->set_node(kNode);
  request.mutable_key()->set_id(id);
  request.set_on(on);
  request.set_reason("new disk");
  return request;
}

v1::SetMaintenanceRequest OfNode(bool on) {
  v1::SetMaintenanceRequest request;
  request.mutable_node()->set_node(kNode);
  request.set_on(on);
  return request;
}

class MaintenanceScenario : public testing::Test {
 protected:
  void KillAndRestart() {
    const int port = server_->port();
    server_->Kill();
    server_ = std::make_unique<Musterd>(dir_.path("data"), std::vector<std::string>{}, port);
  }
  void Register(const v1::RegisterRequest& request) {
    v1::RegisterResponse response;
    const grpc::Status status = remote_->Register(request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  void Set(const v1::SetMaintenanceRequest& request) {
    grpc::ClientContext context;
    Remote::Prepare(context);
    v1::SetMaintenanceResponse response;
    const grpc::Status status = remote_->registry->SetMaintenance(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  static std::vector<std::string> Ids(Remote& remote, const std::string& service = kService) {
    std::vector<std::string> out;
    const v1::DiscoverResponse answer = remote.Discover(service);
    for (const auto& endpoint : answer.endpoints()) out.push_back(endpoint.id());
    return out;
  }
  std::vector<std::string> Ids() { return Ids(*remote_); }
  static void ExpectSound(Remote& remote) {
    grpc::ClientContext context;
    Remote::Prepare(context);
    v1::VerifyResponse verified;
    ASSERT_TRUE(remote.admin->Verify(&context, {}, &verified).ok());
    for (const std::string& problem : verified.problems()) ADD_FAILURE() << problem;
  }
  // The command line, against the server. Returns what it printed.
  std::string Muster(std::vector<std::string> words, int code = 0) {
    words.insert(words.begin(), {BinDir() + "/muster", "--addr", server_->address()});
    Process process(words, dir_.path("stderr"));
    std::string out;
    while (const auto line = process.ReadLine()) absl::StrAppend(&out, *line, "\n");
    EXPECT_EQ(process.Wait(), code);
    return out;
  }

  using Names = std::vector<std::string>;
  TempDir dir_;
  std::unique_ptr<Musterd> server_ = std::make_unique<Musterd>(dir_.path("data"));
  std::unique_ptr<Remote> remote_ = std::make_unique<Remote>(server_->address());
};

TEST_F(MaintenanceScenario, AWatcherSeesItLeaveAndComeBackOverCrashesAndLives) {
  Register(Request("a"));
  Register(Request("b"));
  Watcher watcher(server_->address(), kService);
  ASSERT_TRUE(Eventually([&] { return watcher.ids() == Names{"a", "b"}; }));
  Set(OfInstance("a", true));
  EXPECT_EQ(Ids(), Names{"b"}) << "whoever was answered reads what it wrote";
  EXPECT_TRUE(Eventually([&] { return watcher.ids() == Names{"b"}; }));

  KillAndRestart();
  EXPECT_EQ(Ids(), Names{"b"});
  Register(Request("a", 'b'));
  EXPECT_EQ(Ids(), Names{"b"}) << "another life";
  v1::DeregisterResponse gone;
  ASSERT_TRUE(remote_->Deregister(OfInstance("a", true).key(), 0, &gone).ok());
  KillAndRestart();
  Register(Request("a", 'c'));
  EXPECT_EQ(Ids(), Names{"b"}) << "it had left";
  EXPECT_TRUE(
      absl::StrContains(Muster({"describe", kService, "a", "--node", kNode}), ": new disk\n"));

  Set(OfInstance("a", false));
  EXPECT_EQ(Ids(), (Names{"a", "b"}));
  EXPECT_TRUE(Eventually([&] { return watcher.ids() == Names{"a", "b"}; }));
  EXPECT_EQ(watcher.seen().problem, "");
  KillAndRestart();
  EXPECT_EQ(Ids(), (Names{"a", "b"}));
  ExpectSound(*remote_);
}

TEST_F(MaintenanceScenario, ANodeStaysAwayOverACrashThatComesAtAnyMoment) {
  constexpr int kInstances = 2000;
  v1::BatchRegisterRequest batch;
  for (int i = 0; i < kInstances / 2; ++i) {
    *batch.add_requests() = Request(absl::StrCat("i-", i));
    if (i % 500 != 499) continue;
    for (const char life : {'a', 'b'}) {
      for (auto& one : *batch.mutable_requests()) {
        one.mutable_instance()->set_service(life == 'a' ? kService : "db");
      }
      grpc::ClientContext context;
      Remote::Prepare(context);
      v1::BatchRegisterResponse response;
      ASSERT_TRUE(remote_->registry->BatchRegister(&context, batch, &response).ok());
    }
    batch.Clear();
  }
  bool on = true;
  // The server dies while it writes the states of the node's instances.
  for (int round = 0; round < 5; ++round, on = !on) {
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    v1::SetMaintenanceResponse response;
    grpc::Status status;
    auto call = remote_->registry->AsyncSetMaintenance(&context, OfNode(on), &queue);
    call->Finish(&response, &status, &response);
    Pause(absl::Milliseconds(2 + 7 * round));
    KillAndRestart();
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    // Whether the node's record was written or not, its instances come to agree with it.
    EXPECT_TRUE(Eventually([&] {
      const size_t count = Ids().size();
      return (count == 0 || count == kInstances / 2) && Ids(*remote_, "db").size() == count;
    })) << round;
    ExpectSound(*remote_);
    Set(OfNode(on));
    EXPECT_EQ(Ids().size(), on ? 0u : kInstances / 2u) << round;
  }
}

TEST_F(MaintenanceScenario, ARestoreKeepsWhatOperatorsSaid) {
  Register(Request("a"));
  Register(Request("b"));
  Set(OfInstance("a", true));
  EXPECT_EQ(Muster({"settings", kService, "--panic", "true", "--default-ttl", "7s"}),
            "default/web: panic true, default TTL 7s\n");
  Muster({"backup", dir_.path("backup")});
  // What comes later is not in it.
  Set(OfInstance("b", true));
  Muster({"settings", kService, "--clear"});
  ASSERT_EQ(server_->Stop(), 0);
  Muster({"restore", dir_.path("backup"), "--data-dir", dir_.path("restored")});
  server_ = std::make_unique<Musterd>(dir_.path("restored"));
  Remote remote(server_->address());
  EXPECT_EQ(Ids(remote), Names{"b"});
  ExpectSound(remote);
  EXPECT_EQ(Muster({"settings", kService}), "default/web: panic true, default TTL 7s\n");
  auto request = Request("c");
  request.clear_permanent();
  v1::RegisterResponse registered;
  ASSERT_TRUE(remote.Register(request, &registered).ok());
  EXPECT_EQ(registered.ttl().seconds(), 7);
}

TEST_F(MaintenanceScenario, PanicShowsThoseThatAreLeft) {
  auto request = Request("a");
  request.mutable_instance()->add_checks()->mutable_ttl()->mutable_ttl()->set_seconds(60);
  Register(request);
  Muster({"discover", kService}, 1);
  EXPECT_TRUE(absl::StrContains(Muster({"discover", kService, "--panic"}), "critical"));
  Muster({"settings", kService, "--panic", "true"});
  EXPECT_TRUE(absl::StrContains(Muster({"discover", kService}), "critical"));
  Muster({"discover", kService, "--no-panic"}, 1);
  Muster({"maintenance", "on", "--node", kNode});
  Muster({"discover", kService}, 1);
}

}  // namespace
}  // namespace muster::test

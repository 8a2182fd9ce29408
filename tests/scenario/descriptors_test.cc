// A server whose descriptors run out: those who are connected don't notice, the store keeps what it
// needs, and new connections are taken as soon as there is room.
#include <gmock/gmock.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "muster/v1/discovery.grpc.pb.h"
#include "tests/scenario/abuse.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

using testing::Contains;
using testing::HasSubstr;

constexpr int kOpenFiles = 2048;
constexpr int kConnections = (kOpenFiles - 600) * 3 / 4;  // docs/operations.md
constexpr int kFlood = 3000;
#if defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kMemory = 300 << 20;  // what was freed stays in quarantine
#else
constexpr uint64_t kMemory = 16 << 20;
#endif

std::string ReadAll(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

class Descriptors : public testing::Test {
 protected:
  void SetUp() override {
    rlimit limit{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ASSERT_GE(limit.rlim_max, static_cast<rlim_t>(kFlood + 1000)) << "this test needs more";
  }
  void Start(int open_files) {
    remote_.reset();
    server_ = std::make_unique<Musterd>(dir_.path("data"), flags_, 0, open_files);
    remote_ = std::make_unique<Remote>(server_->address());
  }
  // 100 instances of 4 KB each, over the old connection.
  void RegisterBatch(const Remote& remote, int batch) {
    v1::BatchRegisterRequest request;
    for (int i = 0; i < 100; ++i) {
      request.add_requests()->set_permanent(true);
      auto& instance = *request.mutable_requests(i)->mutable_instance();
      instance.set_service(absl::StrCat("s-", batch));
      instance.set_id(absl::StrCat("i-", i));
      instance.set_address("10.0.0.1");
      for (int k = 0; k < 8; ++k) {
        (*instance.mutable_metadata())[absl::StrCat("k", k)] = std::string(500, 'v');
      }
    }
    grpc::ClientContext context;
    Remote::Prepare(context);
    v1::BatchRegisterResponse response;
    const grpc::Status status = remote.registry->BatchRegister(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    for (const auto& result : response.results()) {
      ASSERT_EQ(result.status().code(), 0) << result.status().message();
    }
  }
  v1::Limit Connections() {
    const v1::StatusResponse status = remote_->Status();
    for (const v1::Limit& limit : status.limits()) {
      if (limit.name() == "limits.connections") return limit;
    }
    return {};
  }
  // Until `count` connections are open; the time it took.
  absl::Duration AwaitConnections(uint64_t count) {
    const absl::Time begin = Now();
    while (Connections().used() != count && Now() - begin < absl::Seconds(20)) {
      Pause(absl::Milliseconds(5));
    }
    EXPECT_EQ(Connections().used(), count);
    return Now() - begin;
  }
  // Opens many idle connections, calls `meanwhile`, closes them, and looks for an open door.
  template <typename Meanwhile>
  void Flood(Meanwhile meanwhile) {
    AwaitConnections(1);
    std::vector<std::unique_ptr<RawPeer>> peers;
    for (int i = 0; i < kFlood; ++i) {
      peers.push_back(std::make_unique<RawPeer>(server_->port()));
    }
    AwaitConnections(kConnections);
    refused_ += kFlood + 1 - kConnections;
    const absl::Time opened = Now();
    while (remote_->Status().refused_connections() < refused_ &&
           Now() - opened < absl::Seconds(20)) {
      Pause(absl::Milliseconds(5));
    }
    meanwhile();
    int ended = 0;
    for (const auto& peer : peers) ended += peer->Ended() ? 1 : 0;
    EXPECT_EQ(ended, kFlood + 1 - kConnections) << "told at once that there is no room";

    peers.clear();
    const absl::Time closed = Now();
    Remote fresh(server_->address());
    fresh.Status();
    EXPECT_LT(Now() - closed, absl::Seconds(1)) << "a new caller is served";
  }

  TempDir dir_;
  std::vector<std::string> flags_;
  std::unique_ptr<Musterd> server_;
  std::unique_ptr<Remote> remote_;
  uint64_t refused_ = 0;
};

TEST_F(Descriptors, AFloodOfConnectionsShutsOutNoOneForLong) {
  const std::string config = dir_.path("musterd.yaml");
  std::ofstream(config) << "rocksdb:\n  write_buffer_bytes: 1048576\n";  // many table files
  flags_ = {"--config", config};
  Start(kOpenFiles);
  EXPECT_THAT(ReadAll(absl::StrCat("/proc/", server_->pid(), "/limits")),
              HasSubstr("Max open files            2048                 2048"))
      << "raised from half of it";
  RegisterBatch(*remote_, 1000);
  EXPECT_EQ(Connections().used(), 1u);
  EXPECT_EQ(Connections().max(), static_cast<uint64_t>(kConnections));

  Flood([&] {
    for (int batch = 0; batch < 80; ++batch) RegisterBatch(*remote_, batch);
    EXPECT_EQ(remote_->Discover("s-79").endpoints_size(), 100);
  });
  AwaitConnections(1);
  const Usage before = UsageOf(server_->pid());
  for (int i = 0; i < 3; ++i) {
    Flood([&] { EXPECT_EQ(remote_->Discover("s-79").endpoints_size(), 100); });
  }
  AwaitConnections(1);
  const Usage after = UsageOf(server_->pid());
  EXPECT_LT(after.fds, before.fds + 20);
  EXPECT_LT(after.resident_bytes, before.resident_bytes + kMemory)
      << "was " << before.resident_bytes;

  const v1::StatusResponse status = remote_->Status();
  EXPECT_EQ(status.refused_connections(), refused_);
  EXPECT_THAT(status.warnings(), Contains(HasSubstr("connections were closed at once")));

  // What was acknowledged meanwhile is there after an end without warning.
  server_->Kill();
  Start(kOpenFiles);
  EXPECT_EQ(remote_->Status().instances(), 8100u);
  EXPECT_TRUE(remote_->Status().warnings().empty());
}

// Each would keep a connection, and all together take more than is kept for the store.
TEST_F(Descriptors, ChecksTakeNoneOfTheStores) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  int port = 0;
  v1::Discovery::Service nothing;
  builder.RegisterService(&nothing);
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  const auto target = builder.BuildAndStart();
  ASSERT_NE(target, nullptr);
  const std::string config = dir_.path("musterd.yaml");
  std::ofstream(config) << "rocksdb:\n  write_buffer_bytes: 1048576\n";
  flags_ = {"--config", config};
  Start(kOpenFiles);
  v1::BatchRegisterRequest request;
  for (int i = 0; i < 20; ++i) {
    request.add_requests()->set_permanent(true);
    auto& instance = *request.mutable_requests(i)->mutable_instance();
    instance.set_service("checked");
    instance.set_id(absl::StrCat("i-", i));
    instance.set_address("127.0.0.1");
    instance.set_port(static_cast<uint32_t>(port));
    for (int k = 0; k < 32; ++k) {
      v1::Check& check = *instance.add_checks();
      check.set_id(absl::StrCat("c", k));
      check.mutable_grpc();
    }
  }
  grpc::ClientContext context;
  Remote::Prepare(context);
  v1::BatchRegisterResponse response;
  ASSERT_TRUE(remote_->registry->BatchRegister(&context, request, &response).ok());
  const absl::Time begin = Now();
  while (remote_->Discover("checked").endpoints_size() < 20 && Now() - begin < absl::Seconds(30)) {
    Pause(absl::Milliseconds(50));
  }
  EXPECT_EQ(remote_->Discover("checked").endpoints_size(), 20)
      << "those without a place are polled";
  EXPECT_LT(UsageOf(server_->pid()).fds, 600);
  Flood([&] {
    for (int batch = 0; batch < 80; ++batch) RegisterBatch(*remote_, batch);
  });
  EXPECT_FALSE(remote_->Status().has_frozen_since());
  EXPECT_EQ(remote_->Discover("checked").endpoints_size(), 20);
  target->Shutdown();
}

// UBSan asks the kernel through a pipe whether there is an object, and sees none without a
// descriptor for it.
#if !defined(__SANITIZE_ADDRESS__)
// Seconds of processor time that a process has used.
double ProcessorSeconds(pid_t pid) {
  std::istringstream words(ReadAll(absl::StrCat("/proc/", pid, "/stat")));
  std::string word;
  double ticks = 0;
  for (int i = 1; i <= 15 && words >> word; ++i) {
    if (i >= 14) ticks += std::stod(word);
  }
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// As when something else than a connection takes the last descriptor.
TEST_F(Descriptors, AcceptsAgainAfterNothingCouldBeAccepted) {
  Start(kOpenFiles);
  remote_->Status();
  rlimit before{};
  const rlimit none{.rlim_cur = 3, .rlim_max = kOpenFiles};
  ASSERT_EQ(prlimit(server_->pid(), RLIMIT_NOFILE, &none, &before), 0);
  const double used = ProcessorSeconds(server_->pid());
  const RawPeer waiting(server_->port());
  EXPECT_FALSE(waiting.HungUp(nullptr, absl::Seconds(2)));
  EXPECT_LT(ProcessorSeconds(server_->pid()) - used, 0.3) << "it waits, it doesn't spin";
  remote_->Status();
  ASSERT_EQ(prlimit(server_->pid(), RLIMIT_NOFILE, &before, nullptr), 0);
  const absl::Time raised = Now();
  Remote(server_->address()).Status();
  EXPECT_LT(Now() - raised, absl::Seconds(1));
  EXPECT_EQ(server_->Stop(), 0);
}
#endif

TEST_F(Descriptors, TheFewestThatDoAndOneLess) {
  Start(256);
  RegisterBatch(*remote_, 1);
  EXPECT_EQ(Connections().max(), 96u);
  EXPECT_EQ(server_->Stop(), 0);
  const std::string log = dir_.path("log");
  Process refused(WithOpenFiles(255, {BinDir() + "/musterd", "--data-dir", dir_.path("other"),
                                      "--grpc-listen", "127.0.0.1:0"}),
                  log);
  EXPECT_EQ(refused.Wait(), 1);
  EXPECT_THAT(ReadAll(log), HasSubstr("limit of open files is 255; at least 256 are needed"));
}

}  // namespace
}  // namespace muster::test

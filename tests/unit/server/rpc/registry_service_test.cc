#include "server/rpc/registry_service.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/rng.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/core/applier.h"
#include "server/rpc/access.h"
#include "storage/memory_engine.h"

namespace muster::rpc {
namespace {

using R = v1::HeartbeatResponse;

std::string ReasonIn(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (!details.ParseFromString(status.error_details()) || details.details_size() == 0 ||
      !details.details(0).UnpackTo(&info)) {
    return "";
  }
  return info.reason();
}

// A real server on a free port, over the core on a threaded memory engine.
class RegistryServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(engine_.Open({&applier_}).ok());
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    service_.ServeOn(grpc_calls_);
    grpc_calls_.AddTo(builder);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    grpc_calls_.Start();
    stub_ = v1::Registry::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials()));
  }
  void TearDown() override {
    server_->Shutdown();
    grpc_calls_.Stop();
    engine_.Close();
  }
  void Serve() {
    leases_.SetLoaded();
    state_.SetPhase(Phase::kServing);
  }

  static v1::RegisterRequest Request(const std::string& id, char life = 'a') {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service("api");
    request.mutable_instance()->set_id(id);
    request.mutable_instance()->set_address("10.0.0.1");
    request.set_life_id(std::string(16, life));
    return request;
  }
  grpc::Status Register(const v1::RegisterRequest& request, v1::RegisterResponse* response) {
    grpc::ClientContext context;
    return stub_->Register(&context, request, response);
  }
  grpc::Status Heartbeat(uint64_t handle, v1::HeartbeatResponse* response) {
    grpc::ClientContext context;
    v1::HeartbeatRequest request;
    request.add_lease_handles(handle);
    return stub_->Heartbeat(&context, request, response);
  }

  base::SystemRng rng_;
  core::Catalog catalog_;
  core::WatchHub hub_;
  core::LeaseTable leases_{base::RealClock(), rng_, {}};
  core::HeldSet held_{catalog_, leases_, hub_, base::RealClock()};
  core::Applier applier_{catalog_, leases_, hub_};
  storage::MemoryEngine engine_{{.clock = base::RealClock(), .rng = rng_}};
  core::Registry registry_{engine_, catalog_, leases_, held_, base::RealClock(), {}};
  security::Authorizer authorizer_{nullptr, false};
  ServerState state_;
  Calls grpc_calls_;
  RegistryService service_{registry_, authorizer_, state_, {}};
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::Registry::Stub> stub_;
};

TEST_F(RegistryServiceTest, RegistersHeartbeatsAndDeregisters) {
  Serve();
  v1::RegisterResponse registered;
  ASSERT_TRUE(Register(Request("a"), &registered).ok());
  EXPECT_EQ(catalog_.Get("default", "api")->view->size(), 1u) << "it reads what it wrote";
  v1::HeartbeatResponse beat;
  ASSERT_TRUE(Heartbeat(registered.lease_handle(), &beat).ok());
  ASSERT_EQ(beat.outcomes_size(), 1);
  EXPECT_EQ(beat.outcomes(0), R::RENEWED);

  v1::DeregisterRequest remove;
  *remove.mutable_key() = registered.key();
  v1::DeregisterResponse removed;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->Deregister(&context, remove, &removed).ok());
  EXPECT_GT(removed.revision().seq(), registered.revision().seq());
  ASSERT_TRUE(Heartbeat(registered.lease_handle(), &beat).ok());
  EXPECT_EQ(beat.outcomes(0), R::UNKNOWN);
}

TEST_F(RegistryServiceTest, ErrorsCarryReasonAndField) {
  Serve();
  auto request = Request("a");
  request.mutable_instance()->set_port(70000);
  v1::RegisterResponse response;
  const grpc::Status status = Register(request, &response);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonIn(status), "INVALID_FIELD");
  EXPECT_NE(status.error_message().find("70000"), std::string::npos);
}

TEST_F(RegistryServiceTest, ALateDeregisterIsFenced) {
  Serve();
  v1::RegisterResponse old;
  v1::RegisterResponse now;
  ASSERT_TRUE(Register(Request("a", 'a'), &old).ok());
  ASSERT_TRUE(Register(Request("a", 'b'), &now).ok());
  v1::DeregisterRequest late;
  *late.mutable_key() = old.key();
  late.set_incarnation(old.incarnation());
  v1::DeregisterResponse response;
  grpc::ClientContext context;
  const grpc::Status status = stub_->Deregister(&context, late, &response);
  EXPECT_EQ(status.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonIn(status), "STALE_INCARNATION");
}

TEST_F(RegistryServiceTest, ABatchAnswersPerItem) {
  Serve();
  v1::BatchRegisterRequest batch;
  *batch.add_requests() = Request("a");
  *batch.add_requests() = Request("b");
  batch.mutable_requests(1)->mutable_instance()->set_service("a b");
  v1::BatchRegisterResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->BatchRegister(&context, batch, &response).ok());
  ASSERT_EQ(response.results_size(), 2);
  EXPECT_EQ(response.results(0).status().code(), 0);
  EXPECT_TRUE(response.results(0).response().changed());
  EXPECT_EQ(response.results(1).status().code(), grpc::INVALID_ARGUMENT);
  grpc::ClientContext empty_context;
  EXPECT_EQ(ReasonIn(stub_->BatchRegister(&empty_context, {}, &response)), "LIMIT_BATCH");
}

TEST_F(RegistryServiceTest, KeepAliveAnswersEachRequestInOrder) {
  Serve();
  v1::RegisterResponse registered;
  ASSERT_TRUE(Register(Request("a"), &registered).ok());
  grpc::ClientContext context;
  auto stream = stub_->KeepAlive(&context);
  for (uint64_t i = 1; i <= 50; ++i) {
    v1::HeartbeatRequest request;
    request.set_sequence(i);
    request.add_lease_handles(registered.lease_handle());
    request.add_lease_handles(12345);
    ASSERT_TRUE(stream->Write(request));
    v1::HeartbeatResponse response;
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.sequence(), i);
    EXPECT_EQ(response.outcomes(0), R::RENEWED);
    EXPECT_EQ(response.outcomes(1), R::UNKNOWN);
  }
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

// gRPC aborts the process when a message is put into a buffer that still holds one.
TEST_F(RegistryServiceTest, KeepAliveAnswersManyLeasesManyTimes) {
  Serve();
  v1::RegisterResponse response;
  ASSERT_TRUE(Register(Request("a"), &response).ok());
  grpc::ClientContext context;
  auto stream = stub_->KeepAlive(&context);
  v1::HeartbeatRequest heartbeat;
  for (int i = 0; i < 100; ++i) heartbeat.add_lease_handles(response.lease_handle());
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(stream->Write(heartbeat));
    v1::HeartbeatResponse answer;
    ASSERT_TRUE(stream->Read(&answer)) << round;
    ASSERT_EQ(answer.outcomes_size(), 100);
    EXPECT_EQ(answer.outcomes(99), v1::HeartbeatResponse::RENEWED);
  }
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(RegistryServiceTest, WhileLoadingWritesWaitAndLeasesAreKept) {
  v1::RegisterResponse response;
  const grpc::Status status = Register(Request("a"), &response);
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(status), "LOADING");
  v1::HeartbeatResponse beat;
  ASSERT_TRUE(Heartbeat(1, &beat).ok());
  EXPECT_EQ(beat.outcomes(0), R::LOADING);
}

TEST_F(RegistryServiceTest, WhileStoppingEverythingIsRefused) {
  Serve();
  state_.SetPhase(Phase::kDraining);
  v1::RegisterResponse response;
  EXPECT_EQ(ReasonIn(Register(Request("a"), &response)), "DRAINING");
  v1::HeartbeatResponse beat;
  EXPECT_EQ(ReasonIn(Heartbeat(1, &beat)), "DRAINING");
}

TEST(PeerIp, ReadsBothFamilies) {
  EXPECT_EQ(PeerIp("ipv4:10.1.2.3:5000"), "10.1.2.3");
  EXPECT_EQ(PeerIp("ipv6:%5B::1%5D:5000"), "::1");
  EXPECT_EQ(PeerIp("ipv6:[fd00::7]:5000"), "fd00::7");
  EXPECT_EQ(PeerIp("unix:/run/x"), "");
  EXPECT_EQ(PeerIp(""), "");
}

}  // namespace
}  // namespace muster::rpc

#include "server/rpc/health_service.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/rpc_stack.h"

namespace muster::rpc {
namespace {

using grpc::health::v1::Health;
using Request = grpc::health::v1::HealthCheckRequest;
using Response = grpc::health::v1::HealthCheckResponse;

class HealthServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    grpc::EnableDefaultHealthCheckService(false);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    service_.ServeOn(calls_);
    calls_.AddTo(builder);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    calls_.Start();
    stub_ = Health::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials()));
  }
  void TearDown() override { Stop(); }
  void Stop() {
    if (server_ == nullptr) return;
    service_.EndWatches();
    server_->Shutdown();
    calls_.Stop();
    server_ = nullptr;
  }
  grpc::Status Check(const std::string& name, Response* response) {
    Request request;
    request.set_service(name);
    grpc::ClientContext context;
    return stub_->Check(&context, request, response);
  }
  struct Watching {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<Response>> reader;
    // UNKNOWN when the stream has ended.
    Response::ServingStatus Read() {
      Response response;
      return reader->Read(&response) ? response.status() : Response::UNKNOWN;
    }
  };
  std::unique_ptr<Watching> Watch(const std::string& name) {
    auto out = std::make_unique<Watching>();
    Request request;
    request.set_service(name);
    SetDeadline(out->context, absl::Seconds(20));
    out->reader = stub_->Watch(&out->context, request);
    return out;
  }

  Calls calls_;
  HealthService service_{{"", "muster.v1.Registry"}};
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Health::Stub> stub_;
};

TEST_F(HealthServiceTest, ChecksTellThePresentStatus) {
  Response response;
  for (const char* name : {"", "muster.v1.Registry"}) {
    service_.SetServing(false);
    ASSERT_TRUE(Check(name, &response).ok());
    EXPECT_EQ(response.status(), Response::NOT_SERVING);
    service_.SetServing(true);
    ASSERT_TRUE(Check(name, &response).ok());
    EXPECT_EQ(response.status(), Response::SERVING);
  }
  EXPECT_EQ(Check("other", &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(HealthServiceTest, WatchesAreToldEachChangeOnce) {
  const auto watch = Watch("muster.v1.Registry");
  EXPECT_EQ(watch->Read(), Response::NOT_SERVING);
  service_.SetServing(true);
  EXPECT_EQ(watch->Read(), Response::SERVING);
  service_.SetServing(true);
  service_.SetServing(false);
  EXPECT_EQ(watch->Read(), Response::NOT_SERVING);
  Stop();
  EXPECT_EQ(watch->Read(), Response::UNKNOWN);
  EXPECT_EQ(watch->reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(HealthServiceTest, AnUnknownServiceIsWatchedAsSuch) {
  const auto watch = Watch("other");
  EXPECT_EQ(watch->Read(), Response::SERVICE_UNKNOWN);
  service_.SetServing(true);
  const auto another = Watch("");
  EXPECT_EQ(another->Read(), Response::SERVING);
  Stop();
  EXPECT_EQ(watch->Read(), Response::UNKNOWN) << "told once, and ended";
}

TEST_F(HealthServiceTest, WatchersThatLeaveAreForgotten) {
  for (int i = 0; i < 50; ++i) {
    const auto watch = Watch("");
    if (i % 2 == 0) {
      EXPECT_EQ(watch->Read(), Response::NOT_SERVING);
    }
    watch->context.TryCancel();
    EXPECT_EQ(watch->reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  const base::SteadyTime until = base::RealClock().Steady() + absl::Seconds(20);
  while (service_.streams() > 0 && base::RealClock().Steady() < until) std::this_thread::yield();
  EXPECT_EQ(service_.streams(), 0u);
  service_.SetServing(true);
}

}  // namespace
}  // namespace muster::rpc

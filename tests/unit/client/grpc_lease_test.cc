#include "client/lease/grpc_lease.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "client/rpc_error.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "muster/v1/registry.grpc.pb.h"

namespace muster::client {
namespace {

// Takes all but the service "refused"; "slow" isn't answered before the test is over.
class Answering : public v1::Registry::Service {
 public:
  void Release() {
    base::MutexLock lock(mu_);
    released_ = true;
    changed_.NotifyAll();
  }
  grpc::Status Register(grpc::ServerContext*, const v1::RegisterRequest* request,
                        v1::RegisterResponse* response) override {
    if (request->instance().service() == "refused") {
      google::rpc::ErrorInfo info;
      info.set_reason("SUPERSEDED");
      google::rpc::Status details;
      details.add_details()->PackFrom(info);
      return {grpc::StatusCode::FAILED_PRECONDITION, "replaced", details.SerializeAsString()};
    }
    base::MutexLock lock(mu_);
    while (request->instance().service() == "slow" && !released_) changed_.Wait(mu_);
    response->set_lease_handle(7);
    return grpc::Status::OK;
  }
  grpc::Status Deregister(grpc::ServerContext*, const v1::DeregisterRequest* request,
                          v1::DeregisterResponse* response) override {
    response->mutable_revision()->set_seq(request->incarnation());
    return grpc::Status::OK;
  }
  grpc::Status ReportHealth(grpc::ServerContext*, const v1::ReportHealthRequest*,
                            v1::ReportHealthResponse* response) override {
    response->set_changed(true);
    return grpc::Status::OK;
  }
  grpc::Status KeepAlive(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::HeartbeatResponse, v1::HeartbeatRequest>* stream) override {
    v1::HeartbeatRequest request;
    while (stream->Read(&request)) {
      v1::HeartbeatResponse response;
      response.set_sequence(request.sequence());
      stream->Write(response);
    }
    return grpc::Status::OK;
  }

 private:
  base::Mutex mu_;
  base::CondVar changed_;
  bool released_ MUSTER_GUARDED_BY(mu_) = false;
};

template <typename Value>
class Told {
 public:
  void Put(Value value) {
    base::MutexLock lock(mu_);
    values_.push_back(std::move(value));
    changed_.NotifyAll();
  }
  // The next one; nullopt after twenty seconds.
  std::optional<Value> Next() {
    base::MutexLock lock(mu_);
    while (values_.empty()) {
      if (!changed_.WaitFor(mu_, absl::Seconds(20))) return std::nullopt;
    }
    Value value = std::move(values_.front());
    values_.pop_front();
    return value;
  }

 private:
  base::Mutex mu_;
  base::CondVar changed_;
  std::deque<Value> values_ MUSTER_GUARDED_BY(mu_);
};

class GrpcLeaseTest : public ::testing::Test {
 protected:
  GrpcLeaseTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    transport_ = std::make_unique<GrpcLeaseTransport>(
        std::vector<std::string>{absl::StrCat("127.0.0.1:", port), "127.0.0.1:1"}, Access{});
  }
  ~GrpcLeaseTest() override {
    service_.Release();
    server_->Shutdown();
  }
  std::unique_ptr<LeaseSession> Open(size_t server) {
    return transport_->Open(
        server,
        {.on_beat = [this](const v1::HeartbeatResponse& beat) { beats_.Put(beat.sequence()); },
         .on_end = [this](absl::Status status) { ends_.Put(std::move(status)); }});
  }
  using Registered = Told<absl::StatusOr<v1::RegisterResponse>>;
  void Register(LeaseSession& session, const std::string& service,
                absl::Duration within = absl::Seconds(20)) {
    Register(session, service, within, registered_);
  }
  static void Register(LeaseSession& session, const std::string& service, absl::Duration within,
                       Registered& told) {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service(service);
    session.Register(request, within, [&told](absl::StatusOr<v1::RegisterResponse> response) {
      told.Put(std::move(response));
    });
  }

  Told<uint64_t> beats_;
  Told<absl::Status> ends_;
  Registered registered_;
  Answering service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<GrpcLeaseTransport> transport_;
};

TEST_F(GrpcLeaseTest, HeartbeatsKeepTheirOrderAndCallsGoBesideThem) {
  const auto session = Open(0);
  for (uint64_t i = 1; i <= 100; ++i) {
    v1::HeartbeatRequest request;
    request.set_sequence(i);
    session->Beat(std::move(request));
    Register(*session, "web");
  }
  for (uint64_t i = 1; i <= 100; ++i) {
    EXPECT_EQ(beats_.Next(), i);
    const auto response = registered_.Next();
    ASSERT_TRUE(response.has_value() && response->ok());
    EXPECT_EQ((*response)->lease_handle(), 7u);
  }
  Told<absl::StatusOr<v1::DeregisterResponse>> left;
  v1::DeregisterRequest request;
  request.set_incarnation(9);
  session->Deregister(
      request, absl::Seconds(20),
      [&](absl::StatusOr<v1::DeregisterResponse> response) { left.Put(std::move(response)); });
  EXPECT_EQ((*left.Next())->revision().seq(), 9u);
  Told<absl::StatusOr<v1::ReportHealthResponse>> reported;
  session->ReportHealth(v1::ReportHealthRequest(), absl::Seconds(20),
                        [&](absl::StatusOr<v1::ReportHealthResponse> response) {
                          reported.Put(std::move(response));
                        });
  EXPECT_TRUE((*reported.Next())->changed());
  Told<absl::Status> drained;
  session->Drain(
      v1::DrainRequest(), absl::Seconds(20),
      [&](const absl::StatusOr<v1::DrainResponse>& response) { drained.Put(response.status()); });
  EXPECT_TRUE(absl::IsUnimplemented(*drained.Next()));
}

TEST_F(GrpcLeaseTest, ErrorsHaveTheServersReasonAndLateAnswersAreErrors) {
  const auto session = Open(0);
  Register(*session, "refused");
  const auto refused = registered_.Next();
  ASSERT_TRUE(refused.has_value());
  EXPECT_TRUE(absl::IsFailedPrecondition(refused->status()));
  EXPECT_EQ(ReasonOf(refused->status()), "SUPERSEDED");
  Register(*session, "slow", absl::Milliseconds(50));
  const auto slow = registered_.Next();
  ASSERT_TRUE(slow.has_value());
  EXPECT_TRUE(absl::IsDeadlineExceeded(slow->status())) << slow->status();
}

TEST_F(GrpcLeaseTest, AServerThatIsNotThereEndsTheSession) {
  const auto session = Open(1);
  Register(*session, "web");
  const auto response = registered_.Next();
  ASSERT_TRUE(response.has_value());
  EXPECT_TRUE(absl::IsUnavailable(response->status()));
  EXPECT_EQ(ReasonOf(response->status()), "");
  const auto end = ends_.Next();
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->message(), "can't connect: Connection refused");
}

TEST_F(GrpcLeaseTest, SessionsMayBeDroppedAtAnyTime) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 25; ++i) {
        Registered told;
        const auto session = Open(t % 2);
        session->Beat(v1::HeartbeatRequest());
        Register(*session, "web", absl::Seconds(20), told);
        if (i % 3 == 1) Register(*session, "slow", absl::Seconds(20), told);
        if (i % 3 == 2) {
          EXPECT_TRUE(told.Next().has_value());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace muster::client

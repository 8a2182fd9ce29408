// A service whose instances are gRPC servers of the test's, and a channel to it.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "client/followed_service.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "muster/client/client.h"
#include "muster/client/service_channel.h"

namespace muster::client::testing {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// From now.
inline std::chrono::system_clock::time_point In(absl::Duration duration) {
  return absl::ToChronoTime(absl::FromUnixMicros((base::RealClock().System() + duration).us));
}

// An instance of a service. "hang" isn't answered before the call is over; Fail says how all others
// end.
class Server : public Health::Service {
 public:
  explicit Server(int port = 0) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  void Stop() {
    if (server_ != nullptr) server_->Shutdown(In(absl::ZeroDuration()));
    server_ = nullptr;
  }
  ~Server() override { Stop(); }

  int port() const { return port_; }
  int calls() const { return calls_; }
  void Fail(grpc::Status status) {
    base::MutexLock lock(mu_);
    status_ = std::move(status);
  }
  std::string authority() const {
    base::MutexLock lock(mu_);
    return authority_;
  }

  grpc::Status Check(grpc::ServerContext* context, const HealthCheckRequest* request,
                     HealthCheckResponse* response) override {
    ++calls_;
    while (request->service() == "hang" && !context->IsCancelled()) {
      std::this_thread::yield();
    }
    response->set_status(HealthCheckResponse::SERVING);
    base::MutexLock lock(mu_);
    const grpc::string_ref authority = context->ExperimentalGetAuthority();
    authority_ = std::string(authority.data(), authority.size());
    return status_;
  }
  grpc::Status Watch(grpc::ServerContext* context, const HealthCheckRequest* /*request*/,
                     grpc::ServerWriter<HealthCheckResponse>* writer) override {
    ++calls_;
    HealthCheckResponse response;
    response.set_status(HealthCheckResponse::SERVING);
    writer->Write(response);
    while (!context->IsCancelled() && !ends_streams_) std::this_thread::yield();
    writer->Write(response);
    base::MutexLock lock(mu_);
    return status_;
  }
  void EndStreams() { ends_streams_ = true; }

 private:
  int port_ = 0;
  std::atomic<int> calls_{0};
  std::atomic<bool> ends_streams_{false};
  mutable base::Mutex mu_;
  grpc::Status status_ MUSTER_GUARDED_BY(mu_);
  std::string authority_ MUSTER_GUARDED_BY(mu_);
  std::unique_ptr<grpc::Server> server_;
};

// `id`: "" = its port.
inline Endpoint At(int port, const std::string& zone = "", const std::string& id = "") {
  return {.id = id.empty() ? absl::StrCat(port) : id,
          .address = {"127.0.0.1", static_cast<uint16_t>(port)},
          .zone = zone};
}

// Knows what the test says.
class Told : public Connection {
 public:
  absl::StatusOr<Resolution> Resolve(const Target& /*target*/) override {
    base::MutexLock lock(mu_);
    return resolution_;
  }
  absl::StatusOr<std::unique_ptr<Subscription>> Watch(const Target& /*target*/,
                                                      Listener listener) override {
    base::MutexLock lock(mu_);
    listener_ = std::move(listener);
    return std::make_unique<Subscription>();
  }
  absl::StatusOr<std::unique_ptr<Registration>> Register(Instance /*instance*/,
                                                         RegisterOptions /*options*/) override {
    return absl::UnimplementedError("");
  }
  void Set(const std::vector<Endpoint>& endpoints) {
    auto list = std::make_shared<EndpointList>();
    for (const Endpoint& one : endpoints) list->push_back(std::make_shared<const Endpoint>(one));
    base::MutexLock lock(mu_);
    resolution_ = {.endpoints = std::move(list), .empty = Resolution::Empty::kNoInstances};
    if (listener_) listener_(resolution_);
  }

 private:
  base::Mutex mu_;
  Resolution resolution_ MUSTER_GUARDED_BY(mu_);
  Listener listener_ MUSTER_GUARDED_BY(mu_);
};

class ChannelFixture : public ::testing::Test {
 protected:
  void SetUp() override { Set({&a_, &b_, &c_}); }
  void Set(const std::vector<const Server*>& servers) {
    std::vector<Endpoint> endpoints;
    for (const Server* server : servers) endpoints.push_back(At(server->port()));
    connection_->Set(endpoints);
  }
  void Make(ChannelOptions options = {}, const std::string& name = "users") {
    auto channel = client_.Channel(name, std::move(options));
    ASSERT_TRUE(channel.ok()) << channel.status();
    channel_ = *std::move(channel);
    stub_ = Health::NewStub(channel_);
  }
  // Once.
  grpc::Status Check(const std::string& service = "") {
    grpc::ClientContext context;
    return CheckWith(context, service);
  }
  grpc::Status CheckWith(grpc::ClientContext& context, const std::string& service = "") {
    HealthCheckRequest request;
    HealthCheckResponse response;
    request.set_service(service);
    return stub_->Check(&context, request, &response);
  }
  // With retries.
  grpc::Status Call(const std::string& service = "", Idempotent idempotent = Idempotent::kYes) {
    return channel_->Call([&](grpc::ClientContext& context) { return CheckWith(context, service); },
                          idempotent);
  }
  // Until all of them are connected.
  void CallAll(const std::vector<const Server*>& servers) {
    const base::SteadyTime end = base::RealClock().Steady() + absl::Seconds(20);
    for (const Server* server : servers) {
      while (server->calls() == 0 && base::RealClock().Steady() < end) {
        EXPECT_TRUE(Check().ok());
      }
      EXPECT_GT(server->calls(), 0);
    }
  }
  void FailAll(const grpc::Status& status) {
    for (Server* server : {&a_, &b_, &c_}) server->Fail(status);
  }
  // Until it is open.
  void OpenBreaker() {
    FailAll({grpc::StatusCode::INTERNAL, "broken"});
    for (int i = 0; i < 300 && channel_->breaker() != BreakerState::kOpen; ++i) Check();
    EXPECT_EQ(channel_->breaker(), BreakerState::kOpen);
    FailAll(grpc::Status::OK);
  }
  int calls() const { return a_.calls() + b_.calls() + c_.calls(); }
  ServiceMetrics metrics() const {
    const Metrics all = client_.metrics();
    return all.services.empty() ? ServiceMetrics{} : all.services.front();
  }

  Server a_, b_, c_;
  const std::shared_ptr<Told> connection_ = std::make_shared<Told>();
  const Client client_{connection_};
  std::shared_ptr<ServiceChannel> channel_;
  std::unique_ptr<Health::Stub> stub_;
};

// What a reactor of the application's would hear.
class Reading : public grpc::ClientReadReactor<HealthCheckResponse> {
 public:
  void Begin(Health::Stub& stub) {
    stub.async()->Watch(&context_, &request_, this);
    StartRead(&response_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    {
      base::MutexLock lock(mu_);
      ++read_;
      changed_.NotifyAll();
    }
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    base::MutexLock lock(mu_);
    end_ = status;
    changed_.NotifyAll();
  }
  bool WaitForRead(int count) {
    base::MutexLock lock(mu_);
    while (read_ < count && !end_) {
      if (!changed_.WaitFor(mu_, absl::Seconds(20))) return false;
    }
    return read_ >= count;
  }
  grpc::Status End() {
    base::MutexLock lock(mu_);
    while (!end_) {
      if (!changed_.WaitFor(mu_, absl::Seconds(20))) return grpc::Status::OK;
    }
    return *end_;
  }

 private:
  grpc::ClientContext context_;
  HealthCheckRequest request_;
  HealthCheckResponse response_;
  base::Mutex mu_;
  base::CondVar changed_;
  int read_ MUSTER_GUARDED_BY(mu_) = 0;
  std::optional<grpc::Status> end_ MUSTER_GUARDED_BY(mu_);
};

}  // namespace muster::client::testing

#include "muster/client/service_channel.h"

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/fake_clock.h"
#include "base/mutex.h"
#include "client/channel/channel_pool.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "muster/client/client.h"

namespace muster::client {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// From now.
std::chrono::system_clock::time_point In(absl::Duration duration) {
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
  void Set(const std::vector<int>& ports) {
    auto list = std::make_shared<EndpointList>();
    for (const int port : ports) {
      list->push_back(std::make_shared<const Endpoint>(Endpoint{
          .id = absl::StrCat(port), .address = {"127.0.0.1", static_cast<uint16_t>(port)}}));
    }
    base::MutexLock lock(mu_);
    resolution_ = {.endpoints = std::move(list), .empty = Resolution::Empty::kNoInstances};
    if (listener_) listener_(resolution_);
  }

 private:
  base::Mutex mu_;
  Resolution resolution_ MUSTER_GUARDED_BY(mu_);
  Listener listener_ MUSTER_GUARDED_BY(mu_);
};

class ServiceChannelTest : public ::testing::Test {
 protected:
  void SetUp() override { Set({&a_, &b_, &c_}); }
  void Set(const std::vector<const Server*>& servers) {
    std::vector<int> ports;
    for (const Server* server : servers) ports.push_back(server->port());
    connection_->Set(ports);
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

TEST_F(ServiceChannelTest, EachCallOfAStubGoesToAnotherEndpoint) {
  Make();
  CallAll({&a_, &b_, &c_});
  const int before = a_.calls();
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(Check().ok());
  EXPECT_EQ(a_.calls() - before, 10);
  EXPECT_EQ(a_.authority(), "users");
  EXPECT_EQ(channel_->GetState(false), GRPC_CHANNEL_READY);
  const ServiceMetrics counted = metrics();
  EXPECT_EQ(counted.calls, static_cast<uint64_t>(a_.calls() + b_.calls() + c_.calls()));
  EXPECT_EQ(counted.failed, 0u);
  EXPECT_EQ(counted.endpoints.size(), 3u);
}

TEST_F(ServiceChannelTest, AProxyIsNotForEndpoints) {
  setenv("http_proxy", "http://127.0.0.1:1", 1);
  Make({.caller = {.log_failures = false}});
  EXPECT_TRUE(Call().ok());
  unsetenv("http_proxy");
}

TEST_F(ServiceChannelTest, ConnectsWhenAskedAndTellsItsState) {
  Make();
  EXPECT_TRUE(channel_->WaitForConnected(In(absl::Seconds(20))));
  grpc::CompletionQueue queue;
  void* tag = nullptr;
  bool ok = true;
  channel_->NotifyOnStateChange(GRPC_CHANNEL_IDLE, In(absl::Seconds(20)), &queue, this);
  EXPECT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(tag, this);
  EXPECT_TRUE(ok) << "it isn't idle";
  connection_->Set({});
  EXPECT_TRUE(channel_->WaitForStateChange(GRPC_CHANNEL_READY, In(absl::Seconds(20))));
  EXPECT_EQ(channel_->GetState(true), GRPC_CHANNEL_TRANSIENT_FAILURE);
  EXPECT_FALSE(
      channel_->WaitForStateChange(GRPC_CHANNEL_TRANSIENT_FAILURE, In(absl::Milliseconds(20))));
  channel_->NotifyOnStateChange(GRPC_CHANNEL_IDLE, In(absl::Milliseconds(20)), &queue, this);
  EXPECT_TRUE(queue.Next(&tag, &ok));
  EXPECT_FALSE(ok) << "nothing happened";
}

TEST_F(ServiceChannelTest, TakesStreamsCallbacksAndQueues) {
  Make();
  HealthCheckRequest request;
  HealthCheckResponse response;
  {
    grpc::ClientContext context;
    const auto reader = stub_->Watch(&context, request);
    EXPECT_TRUE(reader->Read(&response));
    for (Server* server : {&a_, &b_, &c_}) server->EndStreams();
    EXPECT_TRUE(reader->Read(&response));
    EXPECT_FALSE(reader->Read(&response));
    EXPECT_TRUE(reader->Finish().ok());
  }
  {
    grpc::ClientContext context;
    base::Mutex mu;
    base::CondVar ended;
    std::optional<grpc::Status> status;
    stub_->async()->Check(&context, &request, &response, [&](grpc::Status told) {
      base::MutexLock lock(mu);
      status = std::move(told);
      ended.NotifyAll();
    });
    base::MutexLock lock(mu);
    while (!status) ASSERT_TRUE(ended.WaitFor(mu, absl::Seconds(20)));
    EXPECT_TRUE(status->ok());
  }
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  grpc::Status status(grpc::StatusCode::UNKNOWN, "");
  const auto call = stub_->AsyncCheck(&context, request, &queue);
  call->Finish(&response, &status, this);
  void* tag = nullptr;
  bool ok = false;
  EXPECT_TRUE(queue.Next(&tag, &ok));
  EXPECT_TRUE(ok);
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(metrics().calls, 3u);
}

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

TEST_F(ServiceChannelTest, ACallOutlivesTheChannelAndItsEndpoint) {
  Make();
  Reading reading;
  reading.Begin(*stub_);
  EXPECT_TRUE(reading.WaitForRead(1));
  connection_->Set({});
  stub_ = nullptr;
  channel_ = nullptr;
  for (Server* server : {&a_, &b_, &c_}) server->EndStreams();
  EXPECT_TRUE(reading.WaitForRead(2));
  EXPECT_TRUE(reading.End().ok());
}

TEST_F(ServiceChannelTest, WithoutAnEndpointEachKindOfCallSaysWhyAtOnce) {
  connection_->Set({});
  Make();
  const auto is_why = [](const grpc::Status& status) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(status.error_message(), "\"users\" has no instance now");
  };
  is_why(Check());
  is_why(Call());
  HealthCheckRequest request;
  HealthCheckResponse response;
  {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    is_why(CheckWith(context));
  }
  {
    grpc::ClientContext context;
    const auto reader = stub_->Watch(&context, request);
    EXPECT_FALSE(reader->Read(&response));
    is_why(reader->Finish());
  }
  Reading reading;
  reading.Begin(*stub_);
  is_why(reading.End());
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  grpc::Status status;
  const auto call = stub_->AsyncCheck(&context, request, &queue);
  call->Finish(&response, &status, this);
  void* tag = nullptr;
  bool ok = false;
  EXPECT_TRUE(queue.Next(&tag, &ok));
  is_why(status);
  EXPECT_EQ(metrics().not_made, metrics().calls);
}

TEST_F(ServiceChannelTest, AnEndpointThatDiesIsCalledNoMore) {
  Make({.caller = {.log_failures = false}});
  CallAll({&a_, &b_, &c_});
  b_.Stop();
  for (int i = 0; i < 300; ++i) EXPECT_TRUE(Call().ok()) << i;
  // Nor by calls that are made once: its connection is gone.
  for (int i = 0; i < 300; ++i) {
    const grpc::Status status = Check();
    EXPECT_TRUE(status.ok()) << i << " " << status.error_message();
  }
}

TEST_F(ServiceChannelTest, OneThatNeverAnsweredIsPassedOver) {
  const int port = b_.port();
  b_.Stop();
  Make({.caller = {.log_failures = false}});
  connection_->Set({a_.port(), port, c_.port()});
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(Call().ok()) << i;
  // It is called as soon as it is there.
  Server back(port);
  CallAll({&back});
}

TEST_F(ServiceChannelTest, ACallIsMadeAgainElsewhereAndKeepsWhatTheLastSaid) {
  Make({.caller = {.retry_budget = 100, .log_failures = false}});
  CallAll({&a_, &b_, &c_});
  a_.Fail({grpc::StatusCode::UNAVAILABLE, "full"});
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(Call().ok()) << i;
  a_.Fail({grpc::StatusCode::NOT_FOUND, "nobody", "details"});
  b_.Fail({grpc::StatusCode::NOT_FOUND, "nobody", "details"});
  c_.Fail({grpc::StatusCode::NOT_FOUND, "nobody", "details"});
  const grpc::Status status = Call();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "nobody");
  EXPECT_EQ(status.error_details(), "details");
}

TEST_F(ServiceChannelTest, ACallThatMayNotBeMadeTwiceIsMadeOnce) {
  Make({.caller = {.log_failures = false}});
  CallAll({&a_, &b_, &c_});
  for (Server* server : {&a_, &b_, &c_}) server->Fail({grpc::StatusCode::UNAVAILABLE, "full"});
  const int before = a_.calls() + b_.calls() + c_.calls();
  EXPECT_EQ(Call("", Idempotent::kNo).error_message(), "full");
  EXPECT_EQ(a_.calls() + b_.calls() + c_.calls() - before, 1);
}

TEST_F(ServiceChannelTest, EndpointsThatFailAreLeftOutAndTheServicesBreakerOpens) {
  Make({.caller = {.endpoint_breaker = {.in_a_row = 3}, .log_failures = false}});
  CallAll({&a_, &b_, &c_});
  a_.Fail({grpc::StatusCode::INTERNAL, "broken"});
  int failed = 0;
  for (int i = 0; i < 100; ++i) failed += Check().ok() ? 0 : 1;
  EXPECT_EQ(failed, 3);
  EXPECT_EQ(channel_->left_out(), 1u);
  for (Server* server : {&b_, &c_}) server->Fail({grpc::StatusCode::INTERNAL, "broken"});
  grpc::Status status;
  for (int i = 0; i < 300 && channel_->breaker() != BreakerState::kOpen; ++i) status = Check();
  EXPECT_EQ(channel_->breaker(), BreakerState::kOpen);
  const int before = b_.calls();
  status = Check();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(absl::StartsWith(status.error_message(), "calls of \"users\" are not made for"))
      << status.error_message();
  EXPECT_EQ(b_.calls(), before);
  EXPECT_EQ(metrics().breaker, BreakerState::kOpen);
}

TEST_F(ServiceChannelTest, AUnaryCallWithoutADeadlineGetsOne) {
  Make({.caller = {.timeout = absl::Milliseconds(50),
                   .retry = std::make_shared<LimitedAttempts>(2),
                   .log_failures = false}});
  EXPECT_TRUE(channel_->WaitForConnected(In(absl::Seconds(20))));
  EXPECT_EQ(Check("hang").error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  const base::SteadyTime began = base::RealClock().Steady();
  EXPECT_EQ(Call("hang").error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_GE(base::RealClock().Steady() - began, absl::Milliseconds(99));
  EXPECT_EQ(metrics().attempts, 3u);
}

TEST_F(ServiceChannelTest, AKeyHasItsEndpoint) {
  Make({.caller = {.balance = {.policy = Policy::kConsistentHash}}});
  const auto called = [this] {
    std::map<const Server*, int> calls;
    for (const Server* server : {&a_, &b_, &c_}) calls[server] = server->calls();
    return calls;
  };
  std::set<const Server*> owners;
  for (int key = 0; key < 30; ++key) {
    std::set<const Server*> of_key;
    for (int i = 0; i < 3; ++i) {
      auto before = called();
      ASSERT_TRUE(channel_
                      ->Call(absl::StrCat("k", key),
                             [&](grpc::ClientContext& context) { return CheckWith(context); })
                      .ok());
      for (const auto& [server, calls] : called()) {
        if (calls > before[server]) of_key.insert(server);
      }
    }
    EXPECT_EQ(of_key.size(), 1u) << key;
    owners.insert(of_key.begin(), of_key.end());
  }
  EXPECT_EQ(owners.size(), 3u);
}

TEST_F(ServiceChannelTest, ThreadsCallWhileEndpointsComeAndGo) {
  Make({.caller = {.balance = {.policy = Policy::kLeastLoaded}}});
  std::atomic<bool> stop{false};
  std::atomic<int> failed{0};
  std::atomic<int> calls{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      while (!stop) {
        failed += (t == 0 ? Check() : Call()).ok() ? 0 : 1;
        ++calls;
      }
    });
  }
  for (int i = 0; i < 200; ++i) {
    Set(i % 3 == 0 ? std::vector<const Server*>{&a_, &b_} : std::vector<const Server*>{&b_, &c_});
    while (calls < i) std::this_thread::yield();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed, 0);
}

TEST_F(ServiceChannelTest, AuthorityIsWhatTheNameSaysUnlessSaidOtherwise) {
  Make({}, "http://users:8002/path");
  EXPECT_TRUE(Check().ok());
  EXPECT_EQ(absl::StrCat(a_.authority(), b_.authority(), c_.authority()), "users:8002");
  Make({.authority = "other.example"});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Call().ok());
  EXPECT_TRUE(a_.authority() == "other.example" || b_.authority() == "other.example" ||
              c_.authority() == "other.example");
}

TEST_F(ServiceChannelTest, WrongOptionsAreRefused) {
  EXPECT_EQ(client_.Channel("users", {.idle = absl::Milliseconds(999)}).status().message(),
            "idle: is below 1s");
  EXPECT_EQ(
      client_.Channel("users", {.caller = {.timeout = absl::ZeroDuration()}}).status().message(),
      "timeout: is not above 0");
  EXPECT_TRUE(absl::IsInvalidArgument(client_.Channel("no/name").status()));
}

TEST(ChannelPoolTest, ChannelsOfIdleEndpointsAndOfThoseThatLeftAreClosed) {
  base::FakeClock clock;
  ChannelPool pool({.idle = absl::Seconds(60)}, "users", clock);
  const auto one = pool.Of({"10.0.0.1", 80});
  EXPECT_EQ(pool.Of({"10.0.0.1", 80}), one);
  EXPECT_NE(pool.Of({"10.0.0.1", 81}), one);
  EXPECT_EQ(pool.size(), 2u);
  clock.Advance(absl::Seconds(40));
  pool.Of({"10.0.0.1", 80});
  clock.Advance(absl::Seconds(40));
  pool.Of({"::1", 80});
  EXPECT_EQ(pool.size(), 2u) << "port 81 was idle";
  EXPECT_EQ(pool.Of({"10.0.0.1", 80}), one);
  pool.Keep({std::make_shared<const Endpoint>(Endpoint{.address = {"::1", 80}})});
  EXPECT_EQ(pool.size(), 1u);
  EXPECT_NE(pool.Of({"10.0.0.1", 80}), one);
}

}  // namespace
}  // namespace muster::client

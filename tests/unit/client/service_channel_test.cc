#include "muster/client/service_channel.h"

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
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
#include "base/fake_clock.h"
#include "base/mutex.h"
#include "channel_fixture.h"
#include "client/channel/channel_pool.h"

namespace muster::client {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using testing::At;
using testing::In;
using testing::Reading;
using testing::Server;

using ServiceChannelTest = testing::ChannelFixture;

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
  channel_->NotifyOnStateChange(GRPC_CHANNEL_TRANSIENT_FAILURE, In(absl::Milliseconds(20)), &queue,
                                this);
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
  connection_->Set({At(a_.port()), At(port), At(c_.port())});
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

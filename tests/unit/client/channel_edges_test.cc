// What can go wrong with calls on a ServiceChannel, and mustn't.
#include <arpa/inet.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/support/channel_arguments.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "channel_fixture.h"
#include "muster/v1/discovery.grpc.pb.h"

namespace muster::client {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using testing::At;
using testing::In;
using testing::Reading;
using testing::Server;
using testing::Told;

class ChannelEdgesTest : public testing::ChannelFixture {
 protected:
  // What the test waits for to come by another thread.
  template <typename Condition>
  static bool Comes(const Condition& condition) {
    const base::SteadyTime end = base::RealClock().Steady() + absl::Seconds(20);
    while (!condition()) {
      if (base::RealClock().Steady() > end) return false;
      std::this_thread::yield();
    }
    return true;
  }
};

const CallerOptions kQuick = {.service_breaker = {.minimum = 4, .reset = absl::Milliseconds(100)},
                              .log_failures = false};

// Talks to nobody, by callbacks.
class Talking : public grpc::ClientBidiReactor<v1::WatchRequest, v1::WatchResponse> {
 public:
  void Begin(v1::Discovery::Stub& stub, bool corked, bool writes) {
    context_.set_initial_metadata_corked(corked);
    stub.async()->Watch(&context_, this);
    StartRead(&response_);
    if (writes) {
      StartWrite(&request_);
    } else {
      StartWritesDone();
    }
    StartCall();
  }
  void OnDone(const grpc::Status& status) override {
    base::MutexLock lock(mu_);
    end_ = status;
    ended_.NotifyAll();
  }
  std::optional<grpc::Status> End() {
    base::MutexLock lock(mu_);
    while (!end_ && ended_.WaitFor(mu_, absl::Seconds(20))) {
    }
    return end_;
  }

 private:
  grpc::ClientContext context_;
  v1::WatchRequest request_;
  v1::WatchResponse response_;
  base::Mutex mu_;
  base::CondVar ended_;
  std::optional<grpc::Status> end_ MUSTER_GUARDED_BY(mu_);
};

TEST_F(ChannelEdgesTest, CorkedStreamsEndWhenThereIsNobody) {
  connection_->Set({});
  Make();
  const auto stub = v1::Discovery::NewStub(channel_);
  for (const bool corked : {false, true}) {
    for (const bool writes : {false, true}) {
      Talking talking;
      talking.Begin(*stub, corked, writes);
      const auto end = talking.End();
      ASSERT_TRUE(end.has_value()) << corked << writes;
      EXPECT_EQ(end->error_code(), grpc::StatusCode::UNAVAILABLE);
      EXPECT_EQ(end->error_message(), "\"users\" has no instance now");
    }
  }
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  context.set_initial_metadata_corked(true);
  v1::WatchResponse response;
  grpc::Status status;
  const auto stream = stub->AsyncWatch(&context, &queue, &context);
  stream->Read(&response, &response);
  stream->Write({}, &queue);
  stream->Finish(&status, &status);
  std::set<void*> done;
  void* tag = nullptr;
  bool ok = false;
  while (!done.contains(&status)) {
    ASSERT_EQ(queue.AsyncNext(&tag, &ok, In(absl::Seconds(20))), grpc::CompletionQueue::GOT_EVENT);
    done.insert(tag);
  }
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ChannelEdgesTest, ADeadlineMayBeOnAnyClock) {
  Make();
  grpc::ClientContext span;
  span.set_deadline(gpr_time_from_seconds(20, GPR_TIMESPAN));
  EXPECT_TRUE(CheckWith(span).ok());
  grpc::ClientContext monotonic;
  monotonic.set_deadline(gpr_time_from_micros((base::RealClock().Steady() + absl::Seconds(20)).us,
                                              GPR_CLOCK_MONOTONIC));
  EXPECT_TRUE(CheckWith(monotonic).ok());
}

TEST_F(ChannelEdgesTest, StreamsThatDeliveredAreNoFailuresWhenTheirEndpointDies) {
  Make({.caller = {.log_failures = false}});
  CallAll({&a_, &b_, &c_});
  std::vector<std::unique_ptr<Reading>> streams;
  for (int i = 0; i < 66; ++i) {
    streams.push_back(std::make_unique<Reading>());
    streams.back()->Begin(*stub_);
    ASSERT_TRUE(streams.back()->WaitForRead(1));
  }
  a_.Stop();
  for (Server* server : {&b_, &c_}) server->EndStreams();
  for (const auto& stream : streams) stream->End();
  EXPECT_EQ(channel_->breaker(), BreakerState::kClosed);
  EXPECT_TRUE(Call().ok());
  // A stream that ends when its time is over isn't one either.
  for (int i = 0; i < 30; ++i) {
    grpc::ClientContext context;
    context.set_deadline(In(absl::Milliseconds(5)));
    const auto reader = stub_->Watch(&context, {});
    HealthCheckResponse response;
    while (reader->Read(&response)) {
    }
    reader->Finish();
  }
  EXPECT_EQ(channel_->left_out(), 0u);
}

TEST_F(ChannelEdgesTest, AStreamThatDeliversIsAProbeThatSucceeds) {
  Make({.caller = kQuick});
  CallAll({&a_, &b_, &c_});
  OpenBreaker();
  EXPECT_TRUE(Comes([&] {
    grpc::ClientContext context;
    const auto reader = stub_->Watch(&context, {});
    HealthCheckResponse response;
    return reader->Read(&response) && channel_->breaker() == BreakerState::kClosed;
  }));
}

TEST_F(ChannelEdgesTest, AProbeThatIsDroppedOrCalledOffLeavesItsPlaceToAnother) {
  CallerOptions options = kQuick;
  options.service_breaker.reset = absl::Seconds(2);
  Make({.caller = options});
  CallAll({&a_, &b_, &c_});
  OpenBreaker();
  const base::SteadyTime opens = base::RealClock().Steady() + absl::Seconds(2);
  EXPECT_TRUE(Comes([&] { return base::RealClock().Steady() > opens; }));
  {
    grpc::ClientContext context;
    const auto dropped = stub_->Watch(&context, {});
  }
  EXPECT_EQ(channel_->breaker(), BreakerState::kHalfOpen);
  grpc::ClientContext context;
  context.TryCancel();
  EXPECT_EQ(CheckWith(context).error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(channel_->breaker(), BreakerState::kHalfOpen);
  EXPECT_TRUE(Check().ok());
  EXPECT_EQ(channel_->breaker(), BreakerState::kClosed);
}

TEST_F(ChannelEdgesTest, FaultsOfWhoeverCallsAreNobodysElse) {
  Make({.caller = kQuick, .arguments = [](grpc::ChannelArguments& arguments) {
          arguments.SetMaxSendMessageSize(10);
        }});
  CallAll({&a_, &b_, &c_});
  for (int i = 0; i < 30; ++i) {
    grpc::ClientContext context;
    context.set_deadline(In(-absl::Seconds(1)));
    EXPECT_EQ(CheckWith(context).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
    EXPECT_EQ(Check(std::string(100, 'x')).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  }
  EXPECT_EQ(channel_->left_out(), 0u);
  EXPECT_EQ(channel_->breaker(), BreakerState::kClosed);
}

TEST_F(ChannelEdgesTest, TheFallbackOfACallerIsNotForAChannel) {
  CallerOptions options = kQuick;
  options.service_breaker.reset = absl::Seconds(30);
  options.fallback = [](const absl::Status&) { return absl::OkStatus(); };
  Make({.caller = options});
  OpenBreaker();
  EXPECT_EQ(Call().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(metrics().breaker, BreakerState::kOpen);
  stub_ = nullptr;
  channel_ = nullptr;
  EXPECT_TRUE(Comes([&] { return metrics().breaker == BreakerState::kClosed; }));
}

TEST_F(ChannelEdgesTest, AnInstanceThatMovesIsANewOne) {
  CallerOptions options = kQuick;
  options.service_breaker.reset = absl::Seconds(30);
  Make({.caller = options});
  connection_->Set({At(a_.port(), "", "one")});
  OpenBreaker();
  connection_->Set({At(b_.port(), "", "one")});
  EXPECT_TRUE(Comes([&] { return Call().ok(); }));
  EXPECT_GT(b_.calls(), 0);
}

TEST_F(ChannelEdgesTest, WhoWaitsForAChangeOfNobodyWaits) {
  connection_->Set({});
  Make();
  EXPECT_EQ(channel_->GetState(true), GRPC_CHANNEL_TRANSIENT_FAILURE);
  grpc::CompletionQueue queue;
  void* tag = nullptr;
  bool ok = true;
  channel_->NotifyOnStateChange(GRPC_CHANNEL_TRANSIENT_FAILURE, In(absl::Milliseconds(30)), &queue,
                                this);
  EXPECT_TRUE(queue.Next(&tag, &ok));
  EXPECT_FALSE(ok) << "nothing changed";
  channel_->NotifyOnStateChange(GRPC_CHANNEL_IDLE, In(absl::Seconds(20)), &queue, this);
  EXPECT_TRUE(queue.Next(&tag, &ok));
  EXPECT_TRUE(ok) << "it isn't idle";
}

TEST_F(ChannelEdgesTest, AContextOfOneChannelIsNothingToAnother) {
  Make();
  Server order;
  const auto told = std::make_shared<Told>();
  told->Set({At(order.port())});
  const auto orders = *Client(told).Channel("orders");
  const auto stub = Health::NewStub(orders);
  EXPECT_TRUE(channel_
                  ->Call([&](grpc::ClientContext& context) {
                    HealthCheckResponse response;
                    return stub->Check(&context, {}, &response);
                  })
                  .ok());
  EXPECT_EQ(order.calls(), 1);
  EXPECT_EQ(calls(), 0);
}

// Passes bytes on to a port, `delay` after a connection has been made.
class SlowRoad {
 public:
  SlowRoad(int to, absl::Duration delay) : to_(to), delay_(delay) {
    listening_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at = Loopback(0);
    socklen_t size = sizeof at;
    EXPECT_EQ(bind(listening_, reinterpret_cast<sockaddr*>(&at), size), 0);
    EXPECT_EQ(listen(listening_, 10), 0);
    EXPECT_EQ(getsockname(listening_, reinterpret_cast<sockaddr*>(&at), &size), 0);
    port_ = ntohs(at.sin_port);
    accepts_ = std::thread([this] { Accept(); });
  }
  ~SlowRoad() {
    shutdown(listening_, SHUT_RDWR);
    accepts_.join();
    for (std::thread& thread : carries_) thread.join();
    close(listening_);
  }
  int port() const { return port_; }

 private:
  static sockaddr_in Loopback(int port) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at.sin_port = htons(static_cast<uint16_t>(port));
    return at;
  }
  void Accept() {
    for (int one = 0; (one = accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
      carries_.emplace_back([this, one] { Carry(one); });
    }
  }
  void Carry(int from) const {
    const base::SteadyTime begins = base::RealClock().Steady() + delay_;
    while (base::RealClock().Steady() < begins) poll(nullptr, 0, 1);
    const int to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in at = Loopback(to_);
    if (connect(to, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0) {
      pollfd both[] = {{from, POLLIN, 0}, {to, POLLIN, 0}};
      while (poll(both, 2, 20'000) > 0) {
        const int side = both[0].revents != 0 ? 0 : 1;
        char bytes[4'096];
        const ssize_t got = read(both[side].fd, bytes, sizeof bytes);
        if (got <= 0 ||
            send(both[1 - side].fd, bytes, static_cast<size_t>(got), MSG_NOSIGNAL) != got) {
          break;
        }
      }
    }
    close(to);
    close(from);
  }

  const int to_;
  const absl::Duration delay_;
  int listening_ = -1;
  int port_ = 0;
  std::vector<std::thread> carries_;
  std::thread accepts_;
};

TEST_F(ChannelEdgesTest, AConnectionMayTakeAWhile) {
  SlowRoad road(a_.port(), absl::Milliseconds(400));
  connection_->Set({At(road.port())});
  Make({.caller = kQuick});
  EXPECT_TRUE(Check().ok());
  EXPECT_TRUE(Call().ok());
  connection_->Set({});
  stub_ = nullptr;
  channel_ = nullptr;
  a_.Stop();
}

TEST_F(ChannelEdgesTest, ARetryWaitsForTheConnectionToAnotherZone) {
  Make({.caller = {.balance = {.zone = "a"},
                   .retry = std::make_shared<LimitedAttempts>(2),
                   .log_failures = false}});
  connection_->Set({At(a_.port(), "a"), At(b_.port(), "a"), At(c_.port(), "b")});
  EXPECT_TRUE(Comes([&] { return Check().ok() && a_.calls() > 5 && b_.calls() > 5; }));
  const int before = c_.calls();
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(Check().ok());
  EXPECT_EQ(c_.calls(), before) << "nobody calls it";
  for (Server* server : {&a_, &b_}) server->Fail({grpc::StatusCode::UNAVAILABLE, "no zone"});
  const grpc::Status status = Call();
  EXPECT_TRUE(status.ok()) << status.error_message();
}

// Takes subscriptions, and tells nothing.
class Registry : public v1::Discovery::Service {
 public:
  grpc::Status Watch(
      grpc::ServerContext* /*context*/,
      grpc::ServerReaderWriter<v1::WatchResponse, v1::WatchRequest>* stream) override {
    v1::WatchRequest request;
    while (stream->Read(&request)) {
    }
    return grpc::Status::OK;
  }
};

// gRPC has few threads for callbacks, and each may be the one on which a client's last call ends.
TEST_F(ChannelEdgesTest, ClientsMayEndWithTheirLastCalls) {
  Registry registry;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&registry);
  const auto server = builder.BuildAndStart();
  std::vector<std::unique_ptr<Reading>> streams;
  for (int i = 0; i < 20; ++i) {
    const auto client = Client::Create(
        {.servers = {absl::StrCat("127.0.0.1:", port)},
         .first_answer = absl::Milliseconds(10),
         .snapshot = false,
         .dns = false,
         .fallback_addresses = {{"users", {{"127.0.0.1", static_cast<uint16_t>(a_.port())}}}}});
    ASSERT_TRUE(client.ok()) << client.status();
    const auto channel = client->Channel("users");
    ASSERT_TRUE(channel.ok()) << channel.status();
    EXPECT_TRUE((*channel)->WaitForConnected(In(absl::Seconds(20))));
    const auto stub = Health::NewStub(*channel);
    streams.push_back(std::make_unique<Reading>());
    streams.back()->Begin(*stub);
    EXPECT_TRUE(streams.back()->WaitForRead(1));
  }
  a_.EndStreams();
  for (const auto& stream : streams) EXPECT_TRUE(stream->End().ok());
  server->Shutdown(In(absl::Seconds(1)));
}

}  // namespace
}  // namespace muster::client

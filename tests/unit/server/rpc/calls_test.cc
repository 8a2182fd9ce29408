// Many calls at once: more than are asked for ahead, more streams than the main queue takes, and a
// stop in the middle of all.
#include "server/rpc/calls.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "tests/support/rpc_stack.h"

namespace muster::rpc {
namespace {

constexpr int kStreams = 600;  // the main queue takes 256

TEST(Calls, StreamsBeyondTheMainQueueWorkAlike) {
  RpcStack stack;
  stack.Register("api", "i-0");
  std::vector<std::unique_ptr<TestWatch>> watches;
  for (int i = 0; i < kStreams; ++i) {
    watches.push_back(std::make_unique<TestWatch>(*stack.discovery_stub));
    ASSERT_TRUE(watches.back()->Subscribe(1, "api"));
  }
  for (const auto& watch : watches) ASSERT_TRUE(watch->Read().snapshot().complete());
  EXPECT_EQ(stack.discovery_service.watch_streams(), uint64_t{kStreams});
  EXPECT_GE(stack.grpc_calls.streams_placed(), size_t{kStreams - 256});
  for (int change = 1; change <= 5; ++change) {
    stack.Register("api", absl::StrCat("i-", change));
    for (const auto& watch : watches) ASSERT_EQ(watch->Read().change().upserted_size(), 1);
  }
  // Others take the places of those that leave.
  for (int i = 0; i < kStreams; i += 2) watches[i] = nullptr;
  for (int i = 0; i < kStreams; i += 2) {
    watches[i] = std::make_unique<TestWatch>(*stack.discovery_stub);
    ASSERT_TRUE(watches[i]->Subscribe(1, "api"));
    ASSERT_EQ(watches[i]->Read().snapshot().endpoints_size(), 6);
  }
  stack.Stop();
  for (const auto& watch : watches) {
    EXPECT_EQ(watch->Read().event_case(), v1::WatchResponse::EVENT_NOT_SET);
    EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  }
}

TEST(Calls, KeepAliveStreamsBeyondTheMainQueueWorkAlike) {
  RpcStack stack;
  const uint64_t handle = stack.Register("api", "i-0").lease_handle();
  struct Stream {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReaderWriter<v1::HeartbeatRequest, v1::HeartbeatResponse>> calls;
  };
  std::vector<std::unique_ptr<Stream>> streams;
  v1::HeartbeatRequest request;
  request.add_lease_handles(handle);
  for (int i = 0; i < kStreams; ++i) {
    streams.push_back(std::make_unique<Stream>());
    SetDeadline(streams.back()->context, absl::Seconds(30));
    streams.back()->calls = stack.registry_stub->KeepAlive(&streams.back()->context);
  }
  for (int round = 0; round < 3; ++round) {
    for (const auto& stream : streams) ASSERT_TRUE(stream->calls->Write(request));
    v1::HeartbeatResponse response;
    for (const auto& stream : streams) ASSERT_TRUE(stream->calls->Read(&response));
  }
  for (int i = 0; i < kStreams; ++i) {
    if (i % 2 == 0) streams[i]->context.TryCancel();
    if (i % 2 == 1) streams[i]->calls->WritesDone();
    EXPECT_EQ(streams[i]->calls->Finish().error_code(),
              i % 2 == 0 ? grpc::StatusCode::CANCELLED : grpc::StatusCode::OK);
  }
}

constexpr int kCallers = 8;
constexpr int kCallsOfEach = 50;

// How many of the callers' calls, all of each at once, got a good answer.
template <typename Response, typename Start, typename Good>
int CountAnswered(Start start, Good good) {
  std::atomic<int> answered{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kCallers; ++t) {
    threads.emplace_back([&] {
      grpc::CompletionQueue queue;
      struct Call {
        grpc::ClientContext context;
        Response response;
        grpc::Status status;
        std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader;
      };
      std::vector<std::unique_ptr<Call>> calls;
      for (int i = 0; i < kCallsOfEach; ++i) {
        auto call = std::make_unique<Call>();
        SetDeadline(call->context, absl::Seconds(20));
        call->reader = start(&call->context, &queue);
        call->reader->Finish(&call->response, &call->status, call.get());
        calls.push_back(std::move(call));
      }
      void* tag = nullptr;
      bool ok = false;
      for (int i = 0; i < kCallsOfEach && queue.Next(&tag, &ok); ++i) {
        const auto* call = static_cast<Call*>(tag);
        if (call->status.ok() && good(call->response)) ++answered;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return answered;
}

TEST(Calls, MoreAtOnceThanAreAskedForAreAllAnswered) {
  RpcStack stack;
  stack.Register("api", "i-0");
  v1::DiscoverRequest discover;
  discover.set_service("api");
  const auto discovered = CountAnswered<v1::DiscoverResponse>(
      [&](auto* context, auto* queue) {
        return stack.discovery_stub->AsyncDiscover(context, discover, queue);
      },
      [](const v1::DiscoverResponse& response) { return response.endpoints_size() == 1; });
  EXPECT_EQ(discovered, kCallers * kCallsOfEach) << "of a call that comes often";
  const auto listed = CountAnswered<v1::ListServicesResponse>(
      [&](auto* context, auto* queue) {
        return stack.discovery_stub->AsyncListServices(context, v1::ListServicesRequest(), queue);
      },
      [](const v1::ListServicesResponse& response) { return response.services_size() == 1; });
  EXPECT_EQ(listed, kCallers * kCallsOfEach) << "of a call that comes seldom";
}

// Stops while calls of all kinds come and go; each ends, and so does the stop.
TEST(Calls, AStopInTheMiddleEndsAll) {
  for (int round = 0; round < 5; ++round) {
    RpcStack stack;
    stack.Register("api", "i-0");
    std::atomic<bool> over{false};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        const auto channel = stack.NewChannel();
        const auto registry = v1::Registry::NewStub(channel);
        const auto discovery = v1::Discovery::NewStub(channel);
        for (int i = 0; !over; ++i) {
          if (t == 3) {  // waits for what doesn't come
            v1::DiscoverRequest request;
            request.set_service("api");
            request.mutable_min_revision()->set_epoch(stack.catalog.revision().epoch);
            request.mutable_min_revision()->set_seq(1'000'000'000);
            v1::DiscoverResponse response;
            grpc::ClientContext context;
            SetDeadline(context, absl::Milliseconds(i % 4));
            (void)discovery->Discover(&context, request, &response);
          } else if ((t + i) % 2 == 0) {
            v1::RegisterResponse response;
            grpc::ClientContext context;
            SetDeadline(context, absl::Seconds(20));
            (void)registry->Register(
                &context, RpcStack::Request("api", absl::StrCat(t, "-", i % 10)), &response);
          } else {
            TestWatch watch(*discovery, absl::Seconds(20));
            if (watch.Subscribe(1, "api") && i % 3 != 0) (void)watch.Read();
          }
        }
      });
    }
    while (stack.catalog.instance_count() < 4) std::this_thread::yield();
    stack.Stop();
    over = true;
    for (auto& thread : threads) thread.join();
  }
}

}  // namespace
}  // namespace muster::rpc

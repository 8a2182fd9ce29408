#include "server/rpc/drain_calls.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>

#include "tests/support/rpc_stack.h"

namespace muster::rpc {
namespace {

v1::DrainRequest Request(const std::string& id, int64_t deadline_seconds = 60) {
  v1::DrainRequest request;
  request.mutable_key()->set_service("api");
  request.mutable_key()->set_id(id);
  request.mutable_deadline()->set_seconds(deadline_seconds);
  return request;
}

// A call of Drain on a thread of its own.
class DrainCall {
 public:
  DrainCall(RpcStack& stack, v1::DrainRequest request)
      : thread_([this, &stack, request = std::move(request)] {
          status_ = stack.registry_stub->Drain(&context_, request, &response_);
        }) {}
  ~DrainCall() {
    if (thread_.joinable()) thread_.join();
  }
  void Cancel() { context_.TryCancel(); }
  const grpc::Status& Status() {
    if (thread_.joinable()) thread_.join();
    return status_;
  }
  // Of one that has ended.
  const v1::DrainResponse& response() {
    EXPECT_TRUE(Status().ok()) << status_.error_message();
    return response_;
  }

 private:
  grpc::ClientContext context_;
  v1::DrainResponse response_;
  grpc::Status status_;
  std::thread thread_;
};

class DrainCallsTest : public testing::Test {
 protected:
  static std::unique_ptr<TestWatch> Watch(RpcStack& stack, bool acks) {
    auto watch = std::make_unique<TestWatch>(*stack.discovery_stub);
    v1::WatchRequest request;
    request.mutable_subscribe()->set_sub_id(1);
    request.mutable_subscribe()->set_service("api");
    request.mutable_subscribe()->set_acks(acks);
    EXPECT_TRUE(watch->Send(request));
    EXPECT_TRUE(watch->Read().snapshot().complete());
    return watch;
  }
  static void Ack(TestWatch& watch, uint64_t seq) {
    v1::WatchRequest request;
    request.mutable_ack()->set_sub_id(1);
    request.mutable_ack()->set_seq(seq);
    EXPECT_TRUE(watch.Send(request));
  }
  // Of what it is asked to confirm.
  static v1::Change ReadAsked(TestWatch& watch) {
    for (;;) {
      const v1::WatchResponse event = watch.Read();
      if (event.change().ack_requested() || !event.has_change()) return event.change();
    }
  }
  static void AwaitOpen(RpcStack& stack, uint64_t open) {
    while (stack.discovery_service.waiting_calls() != open) stack.Discover("api");
  }
};

TEST_F(DrainCallsTest, AnswersOnceAllWatchersHaveConfirmed) {
  RpcStack stack;
  stack.Register("api", "a");
  const auto first = Watch(stack, true);
  const auto second = Watch(stack, true);
  DrainCall call(stack, Request("a"));
  const v1::Change change = ReadAsked(*first);
  EXPECT_TRUE(change.ack_requested());
  Ack(*first, change.to_seq());
  const v1::Change other = ReadAsked(*second);
  EXPECT_EQ(stack.discovery_service.waiting_calls(), 1u);
  EXPECT_EQ(stack.Discover("api").endpoints_size(), 0) << "it is out of the answers already";
  Ack(*second, other.to_seq());
  EXPECT_EQ(call.response().eligible(), 2u);
  EXPECT_EQ(call.response().acked(), 2u);
  EXPECT_EQ(call.response().not_acking_size(), 0);
  EXPECT_LE(call.response().revision().seq(), change.to_seq());
  EXPECT_EQ(stack.discovery_service.waiting_calls(), 0u);
}

TEST_F(DrainCallsTest, AStreamThatIsLostCountsNoLonger) {
  RpcStack stack;
  stack.Register("api", "a");
  auto watch = Watch(stack, true);
  DrainCall call(stack, Request("a"));
  EXPECT_TRUE(ReadAsked(*watch).ack_requested());
  watch = nullptr;
  EXPECT_EQ(call.response().eligible(), 0u);
  EXPECT_EQ(call.response().acked(), 0u);
}

TEST_F(DrainCallsTest, TheDeadlineAnswersWithWhatIsKnown) {
  RpcStack stack;
  stack.Register("api", "a");
  const auto watch = Watch(stack, true);
  const auto plain = Watch(stack, false);
  v1::DrainRequest request = Request("a", 0);
  request.mutable_deadline()->set_nanos(50'000'000);
  const base::SteadyTime began = base::RealClock().Steady();
  DrainCall call(stack, request);
  std::atomic<bool> ended{false};
  std::thread ticker([&] {
    while (!ended) {
      stack.discovery_service.TickDrains();
      stack.Discover("api");
    }
  });
  EXPECT_EQ(call.response().eligible(), 1u);
  ended = true;
  ticker.join();
  EXPECT_GE(base::RealClock().Steady() - began, absl::Milliseconds(50));
  EXPECT_EQ(call.response().acked(), 0u);
  ASSERT_EQ(call.response().not_acking_size(), 1);
  EXPECT_EQ(call.response().not_acking(0).face(), "grpc");
  EXPECT_EQ(call.response().not_acking(0).count(), 1u);
}

TEST_F(DrainCallsTest, WhatIsWrongIsToldAndNothingIsDone) {
  RpcStack stack;
  const uint64_t old = stack.Register("api", "a").incarnation();
  v1::RegisterRequest next = RpcStack::Request("api", "a");
  next.set_life_id(std::string(16, 'y'));
  stack.Register(next);
  const auto reason = [&](const v1::DrainRequest& request) {
    DrainCall call(stack, request);
    return ReasonIn(call.Status());
  };
  EXPECT_EQ(reason(Request("nobody")), "INSTANCE_NOT_FOUND");
  EXPECT_EQ(reason(Request("")), "INVALID_FIELD");
  EXPECT_EQ(reason(Request("a", 601)), "INVALID_FIELD");
  EXPECT_EQ(reason(Request("a", -1)), "INVALID_FIELD");
  v1::DrainRequest request = Request("a");
  request.set_min_acked(2);
  EXPECT_EQ(reason(request), "INVALID_FIELD");
  request.clear_min_acked();
  request.set_incarnation(old);
  EXPECT_EQ(reason(request), "STALE_INCARNATION");
  EXPECT_EQ(stack.Discover("api").endpoints_size(), 1);
  EXPECT_EQ(stack.discovery_service.waiting_calls(), 0u);
}

TEST_F(DrainCallsTest, WhoGivesUpIsForgottenAndTheInstanceStaysOut) {
  RpcStack stack;
  stack.Register("api", "a");
  const auto watch = Watch(stack, true);
  DrainCall call(stack, Request("a"));
  const v1::Change change = ReadAsked(*watch);
  AwaitOpen(stack, 1);
  call.Cancel();
  EXPECT_EQ(call.Status().error_code(), grpc::StatusCode::CANCELLED);
  AwaitOpen(stack, 0);
  EXPECT_EQ(stack.Discover("api").endpoints_size(), 0);
  Ack(*watch, change.to_seq());
  DrainCall again(stack, Request("a"));
  EXPECT_EQ(again.response().acked(), 1u);
  EXPECT_EQ(again.response().revision().seq(), change.to_seq()) << "since when it drains";
}

TEST_F(DrainCallsTest, StoppingEndsThoseWhoWait) {
  RpcStack stack;
  stack.Register("api", "a");
  const auto watch = Watch(stack, true);
  DrainCall call(stack, Request("a"));
  EXPECT_TRUE(ReadAsked(*watch).ack_requested());
  stack.Stop();
  EXPECT_EQ(call.Status().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(call.Status()), "DRAINING");
}

TEST_F(DrainCallsTest, OnlySoManyWait) {
  RpcStack stack({}, {}, std::make_shared<storage::MemoryStore>(), 1);
  stack.Register("api", "a");
  stack.Register("api", "b");
  const auto watch = Watch(stack, true);
  DrainCall call(stack, Request("a"));
  const v1::Change change = ReadAsked(*watch);
  DrainCall refused(stack, Request("b"));
  EXPECT_EQ(refused.Status().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonIn(refused.Status()), "QUEUE_FULL");
  EXPECT_NE(refused.Status().error_message().find("limits.waiting_calls is 1"), std::string::npos);
  EXPECT_EQ(stack.Discover("api").endpoints_size(), 1) << "b isn't drained";
  Ack(*watch, change.to_seq());
  EXPECT_EQ(call.response().acked(), 1u);
  DrainCall later(stack, Request("b", 0));
  EXPECT_EQ(later.response().eligible(), 1u);
}

// Many of one service at once, each with watchers that confirm when they like.
TEST_F(DrainCallsTest, ManyAtOnceAreAllAnswered) {
  constexpr int kInstances = 20;
  RpcStack stack;
  for (int i = 0; i < kInstances; ++i) stack.Register("api", absl::StrCat("i", i));
  std::vector<std::unique_ptr<TestWatch>> watches;
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) watches.push_back(Watch(stack, true));
  for (const auto& watch : watches) {
    readers.emplace_back([&watch] {
      for (;;) {
        const v1::WatchResponse event = watch->Read();
        if (!event.has_change()) return;
        if (event.change().ack_requested()) Ack(*watch, event.change().to_seq());
      }
    });
  }
  std::vector<std::unique_ptr<DrainCall>> calls;
  for (int i = 0; i < kInstances; ++i) {
    calls.push_back(std::make_unique<DrainCall>(stack, Request(absl::StrCat("i", i))));
  }
  for (const auto& call : calls) {
    EXPECT_EQ(call->response().eligible(), 4u);
    EXPECT_EQ(call->response().acked(), 4u);
  }
  for (const auto& watch : watches) watch->Cancel();
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace muster::rpc

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/endpoint_set.h"
#include "tests/support/rpc_stack.h"

namespace muster::rpc {
namespace {

using client::EndpointSet;
using Event = v1::WatchResponse;

// Applies events of one subscription until the set equals what Discover answers.
void FollowUntilEqual(RpcStack& stack, TestWatch& watch, EndpointSet& set,
                      const std::string& service, int* events = nullptr) {
  for (;;) {
    const v1::DiscoverResponse now = stack.Discover(service);
    if (set.resume() && set.checksum() == now.checksum()) return;
    const Event event = watch.Read();
    ASSERT_NE(event.event_case(), Event::EVENT_NOT_SET) << "the stream ended";
    const auto applied = set.Apply(event);
    EXPECT_EQ(applied.problem, "");
    if (events != nullptr) ++*events;
  }
}

TEST(WatchTest, SnapshotThenChanges) {
  RpcStack stack;
  stack.Register("api", "a");
  TestWatch watch(*stack.discovery_stub);
  ASSERT_TRUE(watch.Subscribe(7, "API"));
  Event event = watch.Read();
  EXPECT_EQ(event.sub_id(), 7u);
  ASSERT_EQ(event.event_case(), Event::kSnapshot);
  EXPECT_TRUE(event.snapshot().complete());
  EXPECT_EQ(event.snapshot().endpoints_size(), 1);
  EXPECT_EQ(event.snapshot().checksum(), stack.Discover("api").checksum());
  EXPECT_GT(event.snapshot().revision().epoch(), 0u);
  const uint64_t at = event.snapshot().revision().seq();

  const auto b = stack.Register("api", "b");
  event = watch.Read();
  ASSERT_EQ(event.event_case(), Event::kChange) << event.ShortDebugString();
  EXPECT_LE(event.change().from_seq(), at);
  EXPECT_EQ(event.change().to_seq(), b.revision().seq());
  ASSERT_EQ(event.change().upserted_size(), 1);
  EXPECT_EQ(event.change().upserted(0).id(), "b");
  EXPECT_EQ(event.change().removed_size(), 0);
  EXPECT_EQ(event.change().checksum(), stack.Discover("api").checksum());

  stack.Deregister("api", "a");
  event = watch.Read();
  ASSERT_EQ(event.event_case(), Event::kChange);
  ASSERT_EQ(event.change().removed_size(), 1);
  EXPECT_EQ(event.change().removed(0).id(), "a");

  stack.Deregister("api", "b");
  event = watch.Read();
  EXPECT_EQ(event.change().empty_reason(), v1::NO_INSTANCES);
  EXPECT_EQ(event.change().checksum(), 0u);
}

TEST(WatchTest, AChangeCostsItsOwnSize) {
  RpcStack stack;
  for (int i = 0; i < 300; ++i) stack.Register("api", absl::StrCat("i", i));
  TestWatch watch(*stack.discovery_stub);
  ASSERT_TRUE(watch.Subscribe(1, "api"));
  EXPECT_EQ(watch.Read().snapshot().endpoints_size(), 300);
  stack.Register("api", "new");
  const Event event = watch.Read();
  ASSERT_EQ(event.change().upserted_size(), 1);
  EXPECT_LE(event.ByteSizeLong(), event.change().upserted(0).ByteSizeLong() + 64);
}

TEST(WatchTest, AnEmptySetSaysWhyAndAChangedReasonIsAnEvent) {
  RpcStack stack;
  TestWatch watch(*stack.discovery_stub);
  ASSERT_TRUE(watch.Subscribe(1, "api"));
  Event event = watch.Read();
  ASSERT_TRUE(event.snapshot().complete());
  EXPECT_EQ(event.snapshot().empty_reason(), v1::UNKNOWN_SERVICE);
  auto request = RpcStack::Request("api", "a");
  auto* check = request.mutable_instance()->add_checks();
  check->set_id("up");
  check->mutable_ttl()->mutable_ttl()->set_seconds(10);
  const auto registered = stack.Register(request);
  event = watch.Read();
  ASSERT_EQ(event.event_case(), Event::kChange);
  EXPECT_EQ(event.change().empty_reason(), v1::ALL_UNHEALTHY);
  EXPECT_EQ(event.change().upserted_size(), 0);
  v1::ReportHealthRequest report;
  *report.mutable_key() = registered.key();
  report.set_check_id("up");
  report.set_status(v1::PASSING);
  v1::ReportHealthResponse reported;
  grpc::ClientContext context;
  ASSERT_TRUE(stack.registry_stub->ReportHealth(&context, report, &reported).ok());
  event = watch.Read();
  ASSERT_EQ(event.change().upserted_size(), 1);
  EXPECT_EQ(event.change().empty_reason(), v1::EMPTY_REASON_UNSPECIFIED);
}

TEST(WatchTest, BigSnapshotsComeInParts) {
  RpcStack stack;
  for (int i = 0; i < 1234; ++i) stack.Register("api", absl::StrCat("i", i));
  TestWatch watch(*stack.discovery_stub);
  ASSERT_TRUE(watch.Subscribe(1, "api"));
  EndpointSet set;
  int parts = 0;
  for (bool complete = false; !complete; ++parts) {
    const Event event = watch.Read();
    ASSERT_EQ(event.event_case(), Event::kSnapshot);
    EXPECT_LE(event.snapshot().endpoints_size(), 500);
    EXPECT_EQ(event.snapshot().has_revision(), event.snapshot().complete());
    complete = event.snapshot().complete();
    EXPECT_EQ(set.Apply(event).problem, "");
  }
  EXPECT_EQ(parts, 3);
  EXPECT_EQ(set.size(), 1234u);
}

TEST(WatchTest, ManyServicesOnOneStream) {
  RpcStack stack;
  TestWatch watch(*stack.discovery_stub);
  for (uint64_t i = 0; i < 50; ++i) {
    stack.Register(absl::StrCat("svc-", i), "a");
    ASSERT_TRUE(watch.Subscribe(i, absl::StrCat("svc-", i)));
  }
  std::map<uint64_t, int> seen;
  for (int i = 0; i < 50; ++i) seen[watch.Read().sub_id()]++;
  EXPECT_EQ(seen.size(), 50u);
  EXPECT_EQ(stack.discovery_service.subscriptions(), 50u);
  stack.Register("svc-33", "b");
  EXPECT_EQ(watch.Read().sub_id(), 33u);
}

TEST(WatchTest, ResumeWithNothingNewIsOneEmptyChange) {
  RpcStack stack;
  stack.Register("api", "a");
  const auto answer = stack.Discover("api");
  v1::Resume resume;
  *resume.mutable_revision() = answer.revision();
  resume.set_checksum(answer.checksum());
  TestWatch watch(*stack.discovery_stub);
  ASSERT_TRUE(watch.Subscribe(1, "api", &resume));
  const Event event = watch.Read();
  ASSERT_EQ(event.event_case(), Event::kChange);
  EXPECT_EQ(event.change().from_seq(), resume.revision().seq());
  EXPECT_GE(event.change().to_seq(), resume.revision().seq());
  EXPECT_EQ(event.change().upserted_size() + event.change().removed_size(), 0);
  EXPECT_EQ(event.change().checksum(), resume.checksum());
}

TEST(WatchTest, ResumeBringsWhatIsNew) {
  RpcStack stack;
  for (const char* id : {"a", "b", "c"}) stack.Register("api", id);
  const auto answer = stack.Discover("api");
  stack.Deregister("api", "b");
  stack.Register("api", "d");
  v1::Resume resume;
  *resume.mutable_revision() = answer.revision();
  resume.set_checksum(answer.checksum());
  TestWatch watch(*stack.discovery_stub);
  ASSERT_TRUE(watch.Subscribe(1, "api", &resume));
  const Event event = watch.Read();
  ASSERT_EQ(event.event_case(), Event::kChange);
  ASSERT_EQ(event.change().upserted_size(), 1);
  EXPECT_EQ(event.change().upserted(0).id(), "d");
  ASSERT_EQ(event.change().removed_size(), 1);
  EXPECT_EQ(event.change().removed(0).id(), "b");
}

v1::Reset::Reason ResetOf(RpcStack& stack, const v1::Resume& resume, const std::string& service) {
  TestWatch watch(*stack.discovery_stub);
  EXPECT_TRUE(watch.Subscribe(1, service, &resume));
  const Event event = watch.Read();
  if (event.event_case() != Event::kReset) return v1::Reset::REASON_UNSPECIFIED;
  const Event snapshot = watch.Read();
  EXPECT_EQ(snapshot.event_case(), Event::kSnapshot);
  EXPECT_EQ(snapshot.snapshot().checksum(), stack.Discover(service).checksum());
  return event.reset().reason();
}

TEST(WatchTest, WhatCannotBeResumedIsReset) {
  RpcStack stack;
  stack.Register("api", "a");
  const auto answer = stack.Discover("api");
  v1::Resume good;
  *good.mutable_revision() = answer.revision();
  good.set_checksum(answer.checksum());
  EXPECT_EQ(ResetOf(stack, good, "api"), v1::Reset::REASON_UNSPECIFIED);

  v1::Resume resume = good;
  resume.mutable_revision()->set_epoch(good.revision().epoch() + 1);
  EXPECT_EQ(ResetOf(stack, resume, "api"), v1::Reset::EPOCH_CHANGED);
  resume = good;
  resume.mutable_revision()->set_seq(good.revision().seq() + 1'000'000);
  EXPECT_EQ(ResetOf(stack, resume, "api"), v1::Reset::EPOCH_CHANGED) << "from the future";
  resume = good;
  resume.set_checksum(good.checksum() + 1);
  EXPECT_EQ(ResetOf(stack, resume, "api"), v1::Reset::CHECKSUM_MISMATCH);
  resume.set_checksum(0);
  EXPECT_EQ(ResetOf(stack, resume, "api"), v1::Reset::CHECKSUM_MISMATCH) << "held nothing";
  EXPECT_EQ(ResetOf(stack, good, "unknown"), v1::Reset::TOO_OLD);
  resume = good;
  resume.set_checksum(0);
  EXPECT_EQ(ResetOf(stack, resume, "unknown"), v1::Reset::REASON_UNSPECIFIED);
}

TEST(WatchTest, BelowTheFloorIsTooOld) {
  core::RegistryOptions options;
  options.tombstones_per_service = 0;
  options.tombstone_age = absl::ZeroDuration();
  RpcStack stack({}, options);
  for (const char* id : {"a", "b"}) stack.Register("api", id);
  const auto answer = stack.Discover("api");
  v1::Resume resume;
  *resume.mutable_revision() = answer.revision();
  resume.set_checksum(answer.checksum());
  stack.Deregister("api", "a");
  for (int i = 0; i < 10 && stack.catalog.tombstone_count() > 0; ++i) {
    stack.registry.Maintain();
    stack.Register("other", absl::StrCat(i));
  }
  ASSERT_EQ(stack.catalog.tombstone_count(), 0u);
  EXPECT_EQ(ResetOf(stack, resume, "api"), v1::Reset::TOO_OLD);
}

TEST(WatchTest, ALiveWatcherIsNotResetByPruning) {
  core::RegistryOptions options;
  options.tombstones_per_service = 0;
  options.tombstone_age = absl::ZeroDuration();
  options.forget_empty_after = absl::ZeroDuration();
  RpcStack stack({}, options);
  TestWatch watch(*stack.discovery_stub);
  ASSERT_TRUE(watch.Subscribe(1, "api"));
  EndpointSet set;
  set.Apply(watch.Read());
  for (int round = 0; round < 5; ++round) {
    for (const char* id : {"a", "b"}) stack.Register("api", id);
    stack.Deregister("api", "a");
    FollowUntilEqual(stack, watch, set, "api");
    stack.Deregister("api", "b");
    // A watcher that has not been told yet would rightly be reset.
    FollowUntilEqual(stack, watch, set, "api");
    for (int i = 0; i < 20 && stack.catalog.Get("default", "api"); ++i) {
      stack.registry.Maintain();
      stack.Register("other", absl::StrCat(round, "-", i));
    }
    ASSERT_FALSE(stack.catalog.Get("default", "api")) << "forgotten";
  }
  stack.Register("api", "last");
  for (;;) {
    const Event event = watch.Read();
    ASSERT_EQ(event.event_case(), Event::kChange) << event.ShortDebugString();
    ASSERT_EQ(set.Apply(event).problem, "");
    if (set.checksum() == stack.Discover("api").checksum()) break;
  }
}

TEST(WatchTest, ErrorsEndTheSubscriptionNotTheStream) {
  WatchOptions options;
  options.limits.subscriptions_per_stream = 3;
  RpcStack stack(options);
  stack.Register("api", "a");
  TestWatch watch(*stack.discovery_stub);
  ASSERT_TRUE(watch.Subscribe(1, "a b"));
  Event event = watch.Read();
  EXPECT_EQ(event.sub_id(), 1u);
  ASSERT_EQ(event.event_case(), Event::kError);
  EXPECT_EQ(event.error().code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonIn(event.error()), "NAME_INVALID");
  v1::Selector selector;
  selector.set_filter("x");
  ASSERT_TRUE(watch.Subscribe(1, "api", nullptr, selector));
  EXPECT_EQ(watch.Read().error().code(), grpc::INVALID_ARGUMENT);

  for (uint64_t i = 1; i <= 3; ++i) {
    ASSERT_TRUE(watch.Subscribe(i, "api"));
    EXPECT_EQ(watch.Read().event_case(), Event::kSnapshot);
  }
  ASSERT_TRUE(watch.Subscribe(4, "api"));
  event = watch.Read();
  EXPECT_EQ(ReasonIn(event.error()), "LIMIT_SUBSCRIPTIONS") << event.ShortDebugString();
  ASSERT_TRUE(watch.Subscribe(2, "api"));
  event = watch.Read();
  EXPECT_EQ(event.sub_id(), 2u);
  EXPECT_EQ(event.error().code(), grpc::INVALID_ARGUMENT) << "the id is taken";
  EXPECT_EQ(stack.discovery_service.subscriptions(), 2u) << "both ended";

  ASSERT_TRUE(watch.Unsubscribe(3));
  event = watch.Read();
  EXPECT_EQ(event.sub_id(), 3u);
  EXPECT_EQ(event.event_case(), Event::kUnsubscribed);
  ASSERT_TRUE(watch.Unsubscribe(99));
  EXPECT_EQ(watch.Read().event_case(), Event::kUnsubscribed);
  stack.Register("api", "b");
  EXPECT_EQ(watch.Read().sub_id(), 1u) << "the one that is left";
  v1::WatchRequest nothing;
  ASSERT_TRUE(watch.Send(nothing));
  EXPECT_EQ(watch.Read().event_case(), Event::EVENT_NOT_SET);
  const grpc::Status status = watch.Finish();
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
}

TEST(WatchTest, AHalfClosedStreamGoesOn) {
  RpcStack stack;
  TestWatch watch(*stack.discovery_stub);
  ASSERT_TRUE(watch.Subscribe(1, "api"));
  watch.HalfClose();
  EXPECT_EQ(watch.Read().event_case(), Event::kSnapshot);
  stack.Register("api", "a");
  EXPECT_EQ(watch.Read().event_case(), Event::kChange);
}

TEST(WatchTest, AHalfClosedStreamWithoutSubscriptionsEnds) {
  RpcStack stack;
  TestWatch watch(*stack.discovery_stub);
  ASSERT_TRUE(watch.Subscribe(1, "a b"));
  watch.HalfClose();
  EXPECT_EQ(watch.Read().event_case(), Event::kError);
  EXPECT_EQ(watch.Read().event_case(), Event::EVENT_NOT_SET);
  EXPECT_TRUE(watch.Finish().ok());
}

TEST(WatchTest, CancelledStreamsLeaveNothing) {
  RpcStack stack;
  stack.Register("api", "a");
  {
    std::vector<std::unique_ptr<TestWatch>> watches;
    for (int i = 0; i < 20; ++i) {
      watches.push_back(std::make_unique<TestWatch>(*stack.discovery_stub));
      ASSERT_TRUE(watches.back()->Subscribe(1, "api"));
      EXPECT_EQ(watches.back()->Read().event_case(), Event::kSnapshot);
    }
    EXPECT_EQ(stack.discovery_service.watch_streams(), 20u);
  }
  for (int i = 0; i < 2000 && stack.discovery_service.watch_streams() > 0; ++i) {
    stack.Discover("api");
  }
  EXPECT_EQ(stack.discovery_service.watch_streams(), 0u);
  EXPECT_EQ(stack.discovery_service.subscriptions(), 0u);
}

TEST(WatchTest, StoppingEndsStreamsWithARetryableStatus) {
  RpcStack stack;
  TestWatch watch(*stack.discovery_stub);
  ASSERT_TRUE(watch.Subscribe(1, "api"));
  EXPECT_EQ(watch.Read().event_case(), Event::kSnapshot);
  stack.Stop();
  EXPECT_EQ(watch.Read().event_case(), Event::EVENT_NOT_SET);
  const grpc::Status status = watch.Finish();
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(status), "DRAINING");
}

TEST(WatchTest, ProgressWhenNothingHappens) {
  WatchOptions options;
  options.progress_interval = absl::Milliseconds(1);
  RpcStack stack(options);
  stack.Register("api", "a");
  TestWatch watch(*stack.discovery_stub);
  ASSERT_TRUE(watch.Subscribe(1, "api"));
  EXPECT_EQ(watch.Read().event_case(), Event::kSnapshot);
  const auto elsewhere = stack.Register("other", "a");
  Event event;
  std::thread reader([&] {
    do {
      event = watch.Read();
    } while (event.event_case() == Event::kProgress &&
             event.progress().revision().seq() < elsewhere.revision().seq());
  });
  for (int i = 0; i < 200; ++i) {
    stack.discovery_service.Tick();
    stack.Discover("api");
  }
  reader.join();
  EXPECT_EQ(event.sub_id(), 0u);
  ASSERT_EQ(event.event_case(), Event::kProgress) << event.ShortDebugString();
  EXPECT_GE(event.progress().revision().seq(), elsewhere.revision().seq());
}

TEST(WatchTest, SnapshotsAreAdmittedByABudget) {
  WatchOptions options;
  options.limits.snapshot_budget_bytes = 1;  // one part at a time
  RpcStack stack(options);
  for (int i = 0; i < 1200; ++i) stack.Register("api", absl::StrCat("i", i));
  std::vector<std::unique_ptr<TestWatch>> watches;
  for (int i = 0; i < 10; ++i) {
    watches.push_back(std::make_unique<TestWatch>(*stack.discovery_stub));
    ASSERT_TRUE(watches.back()->Subscribe(1, "api"));
  }
  for (auto& watch : watches) {
    EndpointSet set;
    while (!set.resume()) EXPECT_EQ(set.Apply(watch->Read()).problem, "");
    EXPECT_EQ(set.size(), 1200u);
  }
}

// Without a tick, so that nothing is given back: others have their own share.
TEST(WatchTest, AConnectionThatDoesNotReadHoldsUpNobodyElse) {
  WatchOptions options;
  options.limits.snapshot_budget_bytes = 16 << 20;
  RpcStack stack(options);
  for (int i = 0; i < 120; ++i) {
    auto request = RpcStack::Request("big", absl::StrCat(i));
    for (int j = 0; j < 24; ++j) {
      (*request.mutable_instance()->mutable_metadata())[absl::StrCat(j)] = std::string(480, 'x');
    }
    stack.Register(request);
  }
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // windows stay small
  const auto stub = v1::Discovery::NewStub(grpc::CreateCustomChannel(
      absl::StrCat("127.0.0.1:", stack.port), grpc::InsecureChannelCredentials(), arguments));
  std::vector<std::unique_ptr<TestWatch>> unread;
  for (int i = 0; i < 40; ++i) {
    unread.push_back(std::make_unique<TestWatch>(*stub));
    ASSERT_TRUE(unread.back()->Subscribe(1, "big"));
  }
  while (stack.discovery_service.subscriptions() < 40) stack.Discover("other");
  TestWatch watch(*stack.discovery_stub);
  ASSERT_TRUE(watch.Subscribe(1, "big"));
  EndpointSet set;
  while (!set.resume()) {
    const Event event = watch.Read();
    ASSERT_EQ(event.event_case(), Event::kSnapshot) << "the stream ended";
    EXPECT_EQ(set.Apply(event).problem, "");
  }
  EXPECT_EQ(set.size(), 120u);
}

TEST(WatchTest, TheSameContentManyTimesIsNoEvent) {
  RpcStack stack;
  auto request = RpcStack::Request("api", "a");
  request.set_life_id(std::string(16, 'l'));
  stack.Register(request);
  TestWatch watch(*stack.discovery_stub);
  ASSERT_TRUE(watch.Subscribe(1, "api"));
  EXPECT_EQ(watch.Read().event_case(), Event::kSnapshot);
  const uint64_t commits = stack.engine.Stats().commits;
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(stack.Register(request).changed());
  EXPECT_EQ(stack.engine.Stats().commits, commits);
  stack.Register("api", "b");
  const Event event = watch.Read();
  ASSERT_EQ(event.change().upserted_size(), 1) << event.ShortDebugString();
  EXPECT_EQ(event.change().upserted(0).id(), "b");
}

}  // namespace
}  // namespace muster::rpc

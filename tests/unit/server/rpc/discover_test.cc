#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "base/fake_clock.h"
#include "server/rpc/page_token.h"
#include "server/rpc/slices.h"
#include "tests/support/rpc_stack.h"

namespace muster::rpc {
namespace {

TEST(ReplyBytesTest, AnEmptyMessageIsAMessage) {
  grpc::ByteBuffer buffer = ReplyBytes().Take();
  EXPECT_TRUE(buffer.Valid());
  EXPECT_EQ(buffer.Length(), 0u);
}

TEST(ReplyBytesTest, PartsStandInOrder) {
  const auto owner = std::make_shared<const std::string>(5000, 'b');
  ReplyBytes reply;
  reply.Append("aa");
  reply.Share(owner, *owner);
  reply.Share(owner, std::string_view(*owner).substr(0, 3));
  reply.Append("cc");
  EXPECT_EQ(reply.size(), 5007u);
  grpc::ByteBuffer buffer = std::move(reply).Take();
  grpc::Slice all;
  ASSERT_TRUE(buffer.DumpToSingleSlice(&all).ok());
  EXPECT_EQ(std::string(all.begin(), all.end()), "aa" + std::string(5003, 'b') + "cc");
  EXPECT_EQ(owner.use_count(), 2) << "the long part is shared, the short one copied";
}

TEST(PageTokenTest, RoundTripAndDamage) {
  PageToken token{.request = 7, .epoch = 8, .seq = 9, .remaining = 10, .after = {1, "n", "i"}};
  const std::string text = EncodePageToken(token);
  const auto back = DecodePageToken(text);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->request, 7u);
  EXPECT_EQ(back->epoch, 8u);
  EXPECT_EQ(back->seq, 9u);
  EXPECT_EQ(back->remaining, 10u);
  EXPECT_EQ(back->after.group, 1u);
  EXPECT_EQ(back->after.node, "n");
  EXPECT_EQ(back->after.id, "i");
  for (size_t i = 0; i < text.size(); ++i) {
    std::string bad = text;
    bad[i] = bad[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(DecodePageToken(bad).ok() && DecodePageToken(bad)->seq != 9) << i;
  }
  EXPECT_FALSE(DecodePageToken("").ok());
  EXPECT_FALSE(DecodePageToken(std::string(5000, 'A')).ok());
}

TEST(DiscoverTest, AnswersWithEndpointsChecksumAndRevision) {
  RpcStack stack;
  const auto registered = stack.Register("api", "a");
  stack.Register("other", "x");
  const v1::DiscoverResponse answer = stack.Discover("API");
  ASSERT_EQ(answer.endpoints_size(), 1);
  const v1::Endpoint& endpoint = answer.endpoints(0);
  EXPECT_EQ(endpoint.id(), "a");
  EXPECT_EQ(endpoint.address(), "10.0.0.1");
  EXPECT_EQ(endpoint.health(), v1::PASSING);
  EXPECT_EQ(endpoint.state(), v1::ACTIVE);
  EXPECT_EQ(endpoint.revision(), registered.revision().seq());
  EXPECT_EQ(answer.service_revision().seq(), registered.revision().seq());
  EXPECT_EQ(answer.checksum(), core::EndpointHash("", "a", endpoint.revision()));
  EXPECT_GT(answer.revision().seq(), answer.service_revision().seq());
  EXPECT_EQ(answer.revision().epoch(), registered.revision().epoch());
  EXPECT_EQ(answer.empty_reason(), v1::EMPTY_REASON_UNSPECIFIED);
  EXPECT_FALSE(answer.has_stale_for());
  EXPECT_FALSE(answer.has_frozen_since());
}

TEST(DiscoverTest, AnEmptyAnswerSaysWhy) {
  RpcStack stack;
  EXPECT_EQ(stack.Discover("nobody").empty_reason(), v1::UNKNOWN_SERVICE);
  stack.Register("api", "a");
  stack.Deregister("api", "a");
  EXPECT_EQ(stack.Discover("api").empty_reason(), v1::NO_INSTANCES);
  auto request = RpcStack::Request("api", "b");
  request.mutable_instance()->add_checks()->mutable_ttl();
  request.mutable_instance()->mutable_checks(0)->mutable_ttl()->mutable_ttl()->set_seconds(10);
  stack.Register(request);
  EXPECT_EQ(stack.Discover("api").empty_reason(), v1::ALL_UNHEALTHY);
  v1::DiscoverRequest tagged;
  tagged.set_service("api");
  tagged.mutable_selector()->add_all_tags("blue");
  tagged.mutable_selector()->set_min_health(v1::Selector::ANY);
  v1::DiscoverResponse answer;
  ASSERT_TRUE(stack.Discover(tagged, &answer).ok());
  EXPECT_EQ(answer.empty_reason(), v1::FILTERED_OUT);
}

TEST(DiscoverTest, NearOrdersByZoneThenRegion) {
  RpcStack stack;
  const auto put = [&](const std::string& id, const std::string& region, const std::string& zone) {
    auto request = RpcStack::Request("api", id);
    request.mutable_instance()->mutable_locality()->set_region(region);
    request.mutable_instance()->mutable_locality()->set_zone(zone);
    stack.Register(request);
  };
  put("a", "us", "z1");
  put("b", "eu", "z2");
  put("c", "eu", "z1");
  put("d", "eu", "z2");
  put("e", "us", "z2");
  v1::DiscoverRequest request;
  request.set_service("api");
  request.mutable_near()->set_region("eu");
  request.mutable_near()->set_zone("z2");
  const auto ids = [&] {
    v1::DiscoverResponse answer;
    EXPECT_TRUE(stack.Discover(request, &answer).ok());
    std::string out;
    for (const auto& endpoint : answer.endpoints()) out += endpoint.id();
    return out;
  };
  EXPECT_EQ(ids(), "bdcae");
  request.set_limit(3);
  EXPECT_EQ(ids(), "bdc");
  request.set_limit(0);
  request.mutable_near()->clear_region();
  EXPECT_EQ(ids(), "bdeac") << "a zone without a region";
}

// Endpoints of some 12 KiB, so that pages end at 1 MiB.
void RegisterBig(RpcStack& stack, int count) {
  for (int i = 0; i < count; ++i) {
    auto request = RpcStack::Request("big", absl::StrCat(1000 + i));
    for (int j = 0; j < 24; ++j) {
      (*request.mutable_instance()->mutable_metadata())[absl::StrCat("k", j)] =
          std::string(480, static_cast<char>('a' + i % 26));
    }
    request.mutable_instance()->mutable_locality()->set_zone(i % 3 == 0 ? "near" : "far");
    stack.Register(request);
  }
}

TEST(DiscoverTest, PagesHoldOneSetWhateverHappensMeanwhile) {
  RpcStack stack;
  RegisterBig(stack, 250);
  for (const uint32_t limit : {0u, 200u}) {
    for (const bool near : {false, true}) {
      v1::DiscoverRequest request;
      request.set_service("big");
      request.set_limit(limit);
      if (near) request.mutable_near()->set_zone("near");
      v1::DiscoverResponse first;
      ASSERT_TRUE(stack.Discover(request, &first).ok());
      ASSERT_FALSE(first.next_page_token().empty());
      EXPECT_GE(first.ByteSizeLong(), 1024u * 1024);
      EXPECT_LT(first.ByteSizeLong(), 1024u * 1024 + 20 * 1024);
      // The set changes; the pages don't.
      stack.Register("big", absl::StrCat("0-", limit, near));
      std::vector<std::string> ids;
      uint64_t checksum = 0;
      v1::DiscoverResponse page = first;
      for (;;) {
        EXPECT_EQ(page.checksum(), first.checksum());
        for (const auto& e : page.endpoints()) {
          ids.push_back(e.id());
          checksum += core::EndpointHash(e.node(), e.id(), e.revision());
        }
        if (page.next_page_token().empty()) break;
        request.set_page_token(page.next_page_token());
        const grpc::Status status = stack.Discover(request, &page);
        ASSERT_TRUE(status.ok()) << status.error_message();
      }
      stack.Deregister("big", absl::StrCat("0-", limit, near));
      EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), ids.size());
      if (limit == 0) {
        EXPECT_EQ(ids.size(), 250u);
        EXPECT_EQ(checksum, first.checksum());
      } else {
        EXPECT_EQ(ids.size(), limit);
      }
    }
  }
}

// Also where a leaf of the view ends.
TEST(DiscoverTest, EachLimitIsKept) {
  constexpr int kInstances = 200;
  RpcStack stack;
  std::vector<std::string> ids;
  for (int i = 0; i < kInstances; ++i) {
    ids.push_back(absl::StrCat("i", 1000 + i));
    stack.Register("many", ids.back());
  }
  ASSERT_GT(stack.catalog.Get("default", "many")->view->leaves().size(), 1u);
  for (int limit = 1; limit <= kInstances; ++limit) {
    v1::DiscoverRequest request;
    request.set_service("many");
    request.set_limit(static_cast<uint32_t>(limit));
    v1::DiscoverResponse response;
    ASSERT_TRUE(stack.Discover(request, &response).ok());
    ASSERT_EQ(response.endpoints_size(), limit);
    EXPECT_EQ(response.next_page_token(), "");
    for (int i = 0; i < limit; ++i) ASSERT_EQ(response.endpoints(i).id(), ids[i]);
  }
}

TEST(DiscoverTest, PageTokensAreChecked) {
  RpcStack stack;
  RegisterBig(stack, 100);
  v1::DiscoverRequest request;
  request.set_service("big");
  v1::DiscoverResponse answer;
  ASSERT_TRUE(stack.Discover(request, &answer).ok());
  const std::string token = answer.next_page_token();
  const auto try_with = [&](const std::string& page_token, const std::string& service) {
    request.set_page_token(page_token);
    request.set_service(service);
    return stack.Discover(request, &answer);
  };
  grpc::Status status = try_with("yesterday", "big");
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonIn(status), "PAGE_TOKEN_INVALID");
  status = try_with(token, "other");
  EXPECT_EQ(ReasonIn(status), "PAGE_TOKEN_INVALID") << "of another request";
  auto old = *DecodePageToken(token);
  old.seq -= 1;
  status = try_with(EncodePageToken(old), "big");
  EXPECT_EQ(status.error_code(), grpc::ABORTED);
  EXPECT_EQ(ReasonIn(status), "PAGE_TOKEN_EXPIRED");
  old.seq += 1;
  old.epoch -= 1;
  EXPECT_EQ(try_with(EncodePageToken(old), "big").error_code(), grpc::ABORTED);
  EXPECT_TRUE(try_with(token, "big").ok());
}

// Names may hold any character: where one ends has to be told apart.
TEST(DiscoverTest, APageTokenIsOfOneLocality) {
  RpcStack stack;
  RegisterBig(stack, 100);
  v1::DiscoverRequest request;
  request.set_service("big");
  request.mutable_near()->set_region("a|b");
  request.mutable_near()->set_zone("c");
  v1::DiscoverResponse answer;
  ASSERT_TRUE(stack.Discover(request, &answer).ok());
  request.set_page_token(answer.next_page_token());
  request.mutable_near()->set_region("a");
  request.mutable_near()->set_zone("b|c");
  EXPECT_EQ(ReasonIn(stack.Discover(request, &answer)), "PAGE_TOKEN_INVALID");
  request.mutable_near()->set_region("a|b");
  request.mutable_near()->set_zone("c");
  EXPECT_TRUE(stack.Discover(request, &answer).ok());
}

TEST(DiscoverTest, PinnedViewsAreBounded) {
  base::FakeClock clock;
  PinnedViews pinned(clock);
  const auto view = [](uint64_t seq) {
    core::ViewBuilder builder(nullptr);
    builder.Touch(seq);
    return builder.Build();
  };
  for (uint64_t seq = 1; seq <= 300; ++seq) {
    pinned.Pin("k", view(seq));
    clock.Advance(absl::Milliseconds(1));
  }
  EXPECT_EQ(pinned.size(), PinnedViews::kMax);
  EXPECT_EQ(pinned.Get("k", 1), nullptr);
  EXPECT_NE(pinned.Get("k", 300), nullptr);
  EXPECT_EQ(pinned.Get("other", 300), nullptr);
  clock.Advance(PinnedViews::kKeep);
  EXPECT_EQ(pinned.Get("k", 300), nullptr);
  EXPECT_EQ(pinned.size(), 0u);
}

TEST(DiscoverTest, MinRevisionWaits) {
  RpcStack stack;
  const auto registered = stack.Register("api", "a");
  v1::DiscoverRequest request;
  request.set_service("api");
  *request.mutable_min_revision() = registered.revision();
  v1::DiscoverResponse answer;
  ASSERT_TRUE(stack.Discover(request, &answer).ok());
  request.mutable_min_revision()->set_seq(registered.revision().seq() + 1);
  grpc::Status status = stack.Discover(request, &answer, absl::Milliseconds(200));
  EXPECT_EQ(status.error_code(), grpc::DEADLINE_EXCEEDED);
  std::thread caller([&] { status = stack.Discover(request, &answer); });
  stack.Register("api", "b");
  caller.join();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(answer.endpoints_size(), 2);
  request.mutable_min_revision()->set_epoch(1);
  status = stack.Discover(request, &answer);
  EXPECT_EQ(status.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonIn(status), "EPOCH_CHANGED");
}

TEST(DiscoverTest, ManyMayWaitAndNotMore) {
  RpcStack stack({}, {}, std::make_shared<storage::MemoryStore>(), 2);
  const DiscoveryService& service = stack.discovery_service;
  v1::DiscoverRequest request;
  request.set_service("api");
  *request.mutable_min_revision() = stack.Register("api", "a").revision();
  request.mutable_min_revision()->set_seq(request.min_revision().seq() + 1'000'000);
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::thread> callers;
  for (int i = 0; i < 2; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    callers.emplace_back([&stack, &request, context = contexts.back().get()] {
      v1::DiscoverResponse answer;
      (void)stack.discovery_stub->Discover(context, request, &answer);
    });
  }
  while (service.waiting_calls() < 2) stack.Discover("api");
  v1::DiscoverResponse answer;
  const grpc::Status status = stack.Discover(request, &answer);
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonIn(status), "QUEUE_FULL");
  EXPECT_NE(status.error_message().find("limits.waiting_calls is 2"), std::string::npos)
      << status.error_message();
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  google::rpc::RetryInfo retry;
  ASSERT_EQ(details.details_size(), 2);
  EXPECT_TRUE(details.details(1).UnpackTo(&retry));
  stack.Discover("api");  // who does not wait is answered
  for (const auto& context : contexts) context->TryCancel();
  for (std::thread& caller : callers) caller.join();
  while (service.waiting_calls() > 0) stack.Discover("api");
  EXPECT_EQ(stack.Discover(request, &answer, absl::Milliseconds(200)).error_code(),
            grpc::DEADLINE_EXCEEDED)
      << "there is room again";
}

TEST(DiscoverTest, WhatIsWrongIsToldBeforeWaiting) {
  RpcStack stack;
  v1::DiscoverRequest request;
  *request.mutable_min_revision() = stack.Register("api", "a").revision();
  request.mutable_min_revision()->set_seq(request.min_revision().seq() + 1'000'000);
  v1::DiscoverResponse answer;
  EXPECT_EQ(ReasonIn(stack.Discover(request, &answer)), "NAME_INVALID");
}

TEST(DiscoverTest, StoppingEndsThoseWhoWait) {
  RpcStack stack;
  const auto registered = stack.Register("api", "a");
  v1::DiscoverRequest request;
  request.set_service("api");
  *request.mutable_min_revision() = registered.revision();
  request.mutable_min_revision()->set_seq(registered.revision().seq() + 1000);
  v1::DiscoverResponse answer;
  grpc::Status status;
  std::thread caller([&] { status = stack.Discover(request, &answer); });
  while (stack.discovery_service.waiting_calls() == 0) stack.Discover("api");
  stack.Stop();
  caller.join();
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE) << status.error_message();
  EXPECT_EQ(ReasonIn(status), "DRAINING");
}

TEST(DiscoverTest, BadRequestsNameTheField) {
  RpcStack stack;
  v1::DiscoverResponse answer;
  v1::DiscoverRequest request;
  grpc::Status status = stack.Discover(request, &answer);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonIn(status), "NAME_INVALID");
  request.set_service("api");
  request.mutable_near()->set_zone(std::string(129, 'z'));
  status = stack.Discover(request, &answer);
  EXPECT_NE(status.error_message().find("zone"), std::string::npos) << status.error_message();
  request.clear_near();
  request.mutable_selector()->set_filter("x == 1");
  EXPECT_EQ(stack.Discover(request, &answer).error_code(), grpc::INVALID_ARGUMENT);
}

TEST(DiscoverTest, LoadingIsNotEmpty) {
  RpcStack stack;
  stack.state.SetPhase(Phase::kLoading);
  v1::DiscoverRequest request;
  request.set_service("api");
  v1::DiscoverResponse answer;
  const grpc::Status status = stack.Discover(request, &answer);
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(status), "LOADING");
}

TEST(DiscoverTest, AFrozenStoreIsToldOf) {
  RpcStack stack;
  stack.state.SetFrozenSince(base::SystemTime{1'700'000'000'500'000});
  const auto answer = stack.Discover("api");
  EXPECT_EQ(answer.frozen_since().seconds(), 1'700'000'000);
  EXPECT_EQ(answer.frozen_since().nanos(), 500'000'000);
}

}  // namespace
}  // namespace muster::rpc

// Discover's panic: what is returned when nobody is as healthy as was asked for.
#include <gtest/gtest.h>

#include <string>

#include "server/core/service_view.h"
#include "server/rpc/page_token.h"
#include "tests/support/rpc_stack.h"

namespace muster::rpc {
namespace {

class PanicTest : public testing::Test {
 protected:
  // Its only check has had no result: CRITICAL.
  void RegisterCritical(const std::string& id, const std::string& tag = "",
                        const std::string& zone = "", size_t tag_bytes = 0) {
    auto request = RpcStack::Request("api", id);
    v1::Instance& instance = *request.mutable_instance();
    instance.add_checks()->mutable_ttl()->mutable_ttl()->set_seconds(60);
    if (!tag.empty()) instance.add_tags(tag);
    for (size_t left = tag_bytes; left > 0; left -= 1000) instance.add_tags(std::string(1000, 't'));
    instance.mutable_locality()->set_zone(zone);
    stack_.Register(request);
  }
  void SetMaintenance(const std::string& id) {
    v1::SetMaintenanceRequest request;
    request.mutable_key()->set_service("api");
    request.mutable_key()->set_id(id);
    request.set_on(true);
    v1::SetMaintenanceResponse response;
    grpc::ClientContext context;
    ASSERT_TRUE(stack_.registry_stub->SetMaintenance(&context, request, &response).ok());
  }
  void SetPanic(bool panic) {
    v1::SetServiceSettingsRequest request;
    request.set_service("api");
    request.mutable_settings()->set_panic(panic);
    v1::SetServiceSettingsResponse response;
    grpc::ClientContext context;
    ASSERT_TRUE(stack_.registry_stub->SetServiceSettings(&context, request, &response).ok());
  }
  static v1::DiscoverRequest Request() {
    v1::DiscoverRequest request;
    request.set_service("api");
    return request;
  }
  static v1::DiscoverRequest Panicking() {
    v1::DiscoverRequest request = Request();
    request.set_panic(true);
    return request;
  }
  v1::DiscoverResponse Discover(const v1::DiscoverRequest& request) {
    v1::DiscoverResponse answer;
    const grpc::Status status = stack_.Discover(request, &answer);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return answer;
  }
  static std::string Ids(const v1::DiscoverResponse& answer) {
    std::string out;
    for (const auto& endpoint : answer.endpoints()) out += endpoint.id();
    return out;
  }

  RpcStack stack_;
};

TEST_F(PanicTest, AllAreReturnedWhenNobodyIsHealthy) {
  RegisterCritical("a");
  RegisterCritical("b");
  const v1::DiscoverResponse without = Discover(Request());
  EXPECT_EQ(Ids(without), "");
  EXPECT_FALSE(without.panic());
  const v1::DiscoverResponse answer = Discover(Panicking());
  EXPECT_EQ(Ids(answer), "ab");
  EXPECT_EQ(answer.endpoints(0).health(), v1::CRITICAL) << "as it is";
  EXPECT_TRUE(answer.panic());
  EXPECT_EQ(answer.empty_reason(), v1::ALL_UNHEALTHY) << "the selected set is empty";
  EXPECT_EQ(answer.checksum(), 0u);
  EXPECT_EQ(answer.service_revision().seq(), without.service_revision().seq());
}

TEST_F(PanicTest, OneThatIsHealthyIsEnough) {
  RegisterCritical("a");
  stack_.Register("api", "b");
  const v1::DiscoverResponse answer = Discover(Panicking());
  EXPECT_EQ(Ids(answer), "b");
  EXPECT_FALSE(answer.panic());
  EXPECT_EQ(answer.empty_reason(), v1::EMPTY_REASON_UNSPECIFIED);
}

TEST_F(PanicTest, WhoeverLeftOnPurposeStaysAway) {
  RegisterCritical("a");
  stack_.Register("api", "b");
  SetMaintenance("b");
  v1::DiscoverResponse answer = Discover(Panicking());
  EXPECT_EQ(Ids(answer), "a");
  EXPECT_TRUE(answer.panic());
  auto request = Panicking();
  request.mutable_selector()->set_include_draining(true);
  EXPECT_EQ(Ids(Discover(request)), "a") << "whatever the selector says of draining";
  SetMaintenance("a");
  answer = Discover(Panicking());
  EXPECT_EQ(Ids(answer), "");
  EXPECT_FALSE(answer.panic()) << "there is nothing to return";
  EXPECT_EQ(answer.empty_reason(), v1::ALL_UNHEALTHY);
}

TEST_F(PanicTest, WhatElseWasAskedForIsKept) {
  RegisterCritical("a", "blue");
  RegisterCritical("b", "green");
  auto request = Panicking();
  request.mutable_selector()->add_all_tags("blue");
  v1::DiscoverResponse answer = Discover(request);
  EXPECT_EQ(Ids(answer), "a");
  EXPECT_TRUE(answer.panic());
  request.mutable_selector()->add_all_tags("red");
  answer = Discover(request);
  EXPECT_EQ(Ids(answer), "");
  EXPECT_FALSE(answer.panic());
  EXPECT_EQ(answer.empty_reason(), v1::FILTERED_OUT);
}

TEST_F(PanicTest, OtherEmptyAnswersStayEmpty) {
  EXPECT_FALSE(Discover(Panicking()).panic());
  RegisterCritical("a");
  stack_.Deregister("api", "a");
  const v1::DiscoverResponse answer = Discover(Panicking());
  EXPECT_FALSE(answer.panic());
  EXPECT_EQ(answer.empty_reason(), v1::NO_INSTANCES);
}

TEST_F(PanicTest, TheServicesSettingCountsForThoseThatDoNotSay) {
  RegisterCritical("a");
  SetPanic(true);
  EXPECT_TRUE(Discover(Request()).panic());
  auto request = Request();
  request.set_panic(false);
  EXPECT_FALSE(Discover(request).panic());
  EXPECT_EQ(Ids(Discover(request)), "");
  SetPanic(false);
  EXPECT_FALSE(Discover(Request()).panic());
  EXPECT_TRUE(Discover(Panicking()).panic());
}

TEST_F(PanicTest, NearAndLimitHold) {
  RegisterCritical("a", "", "z1");
  RegisterCritical("b", "", "z2");
  RegisterCritical("c", "", "z2");
  auto request = Panicking();
  request.mutable_near()->set_zone("z2");
  EXPECT_EQ(Ids(Discover(request)), "bca");
  request.set_limit(2);
  const v1::DiscoverResponse answer = Discover(request);
  EXPECT_EQ(Ids(answer), "bc");
  EXPECT_EQ(answer.next_page_token(), "");
}

// Some 12 KiB each, so that a page holds 86 of them.
class PanicPagesTest : public PanicTest {
 protected:
  static constexpr int kCount = 100;
  void SetUp() override {
    for (int i = 0; i < kCount; ++i) RegisterCritical(Id(i), "", "", 12'000);
  }
  static std::string Id(int i) { return absl::StrCat("b-", 100 + i); }
};

TEST_F(PanicPagesTest, AllPagesAreOfTheSetThatTheFirstWasOf) {
  SetPanic(true);
  auto request = Request();
  const v1::DiscoverResponse first = Discover(request);
  ASSERT_GT(first.endpoints_size(), 50);
  ASSERT_LT(first.endpoints_size(), kCount);
  EXPECT_TRUE(first.panic());
  ASSERT_NE(first.next_page_token(), "");
  // Neither the setting nor an endpoint that got well changes what is paged through.
  SetPanic(false);
  v1::ReportHealthRequest report;
  report.mutable_key()->set_service("api");
  report.mutable_key()->set_id(Id(kCount - 1));
  report.set_status(v1::PASSING);
  v1::ReportHealthResponse reported;
  grpc::ClientContext context;
  ASSERT_TRUE(stack_.registry_stub->ReportHealth(&context, report, &reported).ok());
  EXPECT_EQ(Discover(Request()).endpoints_size(), 1);

  request.set_page_token(first.next_page_token());
  const v1::DiscoverResponse second = Discover(request);
  EXPECT_TRUE(second.panic());
  EXPECT_EQ(second.empty_reason(), v1::ALL_UNHEALTHY);
  EXPECT_EQ(second.checksum(), first.checksum());
  ASSERT_EQ(first.endpoints_size() + second.endpoints_size(), kCount);
  EXPECT_EQ(second.endpoints(0).id(), Id(first.endpoints_size()));
  EXPECT_EQ(second.endpoints(second.endpoints_size() - 1).health(), v1::CRITICAL);
  EXPECT_EQ(second.next_page_token(), "");
}

TEST_F(PanicPagesTest, ALimitHoldsOverPages) {
  auto request = Panicking();
  request.set_limit(95);
  int count = 0;
  do {
    const v1::DiscoverResponse page = Discover(request);
    EXPECT_TRUE(page.panic());
    count += page.endpoints_size();
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(count, 95);
}

TEST_F(PanicPagesTest, ATokenIsOfARequestThatSaysTheSame) {
  auto request = Panicking();
  request.set_page_token(Discover(request).next_page_token());
  ASSERT_NE(request.page_token(), "");
  v1::DiscoverResponse answer;
  EXPECT_TRUE(stack_.Discover(request, &answer).ok());
  request.set_panic(false);
  EXPECT_EQ(ReasonIn(stack_.Discover(request, &answer)), "PAGE_TOKEN_INVALID");
  request.clear_panic();
  EXPECT_EQ(ReasonIn(stack_.Discover(request, &answer)), "PAGE_TOKEN_INVALID");
}

// One that was given before the endpoints fell ill.
TEST_F(PanicPagesTest, PagesOfAHealthySetDoNotPanic) {
  auto request = Panicking();
  request.mutable_selector()->set_min_health(v1::Selector::ANY);
  const v1::DiscoverResponse first = Discover(request);
  EXPECT_FALSE(first.panic());
  request.set_page_token(first.next_page_token());
  const v1::DiscoverResponse second = Discover(request);
  EXPECT_FALSE(second.panic());
  EXPECT_EQ(first.endpoints_size() + second.endpoints_size(), kCount);
}

TEST(PanicTokenTest, ItIsInTheToken) {
  for (const bool panic : {false, true}) {
    const auto back = DecodePageToken(EncodePageToken({.panic = panic, .after = {}}));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(back->panic, panic);
  }
}

}  // namespace
}  // namespace muster::rpc

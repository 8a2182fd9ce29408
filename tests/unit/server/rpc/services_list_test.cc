#include <gtest/gtest.h>

#include <set>

#include "tests/support/rpc_stack.h"

namespace muster::rpc {
namespace {

TEST(ListServicesTest, PagesWithCounts) {
  RpcStack stack;
  for (int i = 0; i < 25; ++i) stack.Register(absl::StrCat("Svc-", 10 + i), "a");
  stack.Register("svc-10", "b");
  auto elsewhere = RpcStack::Request("svc-10", "a");
  elsewhere.mutable_instance()->set_namespace_("prod");
  stack.Register(elsewhere);
  v1::ListServicesRequest request;
  request.set_page_size(10);
  const auto all = [&] {
    std::vector<v1::ServiceSummary> out;
    request.clear_page_token();
    do {
      grpc::ClientContext context;
      v1::ListServicesResponse response;
      const grpc::Status status = stack.discovery_stub->ListServices(&context, request, &response);
      EXPECT_TRUE(status.ok()) << status.error_message();
      EXPECT_LE(response.services_size(), 10);
      out.insert(out.end(), response.services().begin(), response.services().end());
      request.set_page_token(response.next_page_token());
    } while (!request.page_token().empty());
    return out;
  };
  auto services = all();
  ASSERT_EQ(services.size(), 25u);
  EXPECT_EQ(services[0].service(), "Svc-10") << "as first given";
  EXPECT_EQ(services[0].passing(), 2u);
  EXPECT_EQ(services[24].service(), "Svc-34");
  request.set_prefix("sVc-2");
  EXPECT_EQ(all().size(), 10u);
  request.set_namespace_("*");
  request.set_prefix("svc-10");
  services = all();
  ASSERT_EQ(services.size(), 2u);
  EXPECT_EQ(services[1].namespace_(), "prod");
}

TEST(ListServicesTest, BadRequestsNameTheField) {
  RpcStack stack;
  const auto reason = [&](const v1::ListServicesRequest& request) {
    grpc::ClientContext context;
    v1::ListServicesResponse response;
    return ReasonIn(stack.discovery_stub->ListServices(&context, request, &response));
  };
  v1::ListServicesRequest request;
  request.set_page_size(10'001);
  EXPECT_EQ(reason(request), "INVALID_FIELD");
  request.set_page_size(0);
  request.set_page_token("x");
  EXPECT_EQ(reason(request), "PAGE_TOKEN_INVALID");
  request.clear_page_token();
  request.set_namespace_("a b");
  EXPECT_EQ(reason(request), "NAME_INVALID");
}

// Follows names into a set, as a client would.
class NamesClient {
 public:
  NamesClient(RpcStack& stack, const v1::WatchServicesRequest& request) {
    SetDeadline(context_, absl::Seconds(30));
    stream_ = stack.discovery_stub->WatchServices(&context_, request);
  }
  ~NamesClient() {
    context_.TryCancel();
    (void)stream_->Finish();
  }
  // Until the set is as expected.
  void Expect(const std::set<std::string>& expected) {
    while (!complete_ || names_ != expected) {
      v1::WatchServicesResponse event;
      ASSERT_TRUE(stream_->Read(&event)) << "the set has " << names_.size() << " names";
      for (const auto& name : event.snapshot().names()) names_.insert(name.service());
      complete_ |= event.snapshot().complete();
      for (const auto& name : event.change().added()) {
        EXPECT_TRUE(names_.insert(name.service()).second) << name.service() << " came twice";
      }
      for (const auto& name : event.change().removed()) names_.erase(name.service());
    }
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchServicesResponse>> stream_;
  std::set<std::string> names_;
  bool complete_ = false;
};

TEST(WatchServicesTest, SnapshotInPartsThenChanges) {
  RpcStack stack;
  std::set<std::string> names;
  for (int i = 0; i < 1200; ++i) {
    const std::string name = absl::StrCat("svc-", i);
    stack.Register(name, "a");
    names.insert(name);
  }
  stack.Register("other", "a");
  v1::WatchServicesRequest request;
  request.set_prefix("SVC-");
  NamesClient client(stack, request);
  client.Expect(names);
  EXPECT_EQ(stack.discovery_service.watch_streams(), 1u);
  stack.Register("elsewhere", "a");
  stack.Register("svc-new", "a");
  names.insert("svc-new");
  client.Expect(names);
}

TEST(WatchServicesTest, EachNameIsToldOnce) {
  RpcStack stack;
  NamesClient client(stack, {});
  client.Expect({});
  std::set<std::string> names;
  for (int i = 0; i < 300; ++i) {
    names.insert(absl::StrCat("svc-", i));
    stack.Register(absl::StrCat("svc-", i), "a");
    if (i % 50 == 0) client.Expect(names);
  }
  client.Expect(names);
}

TEST(WatchServicesTest, ForgottenNamesAreRemoved) {
  core::RegistryOptions options;
  options.forget_empty_after = absl::ZeroDuration();
  options.tombstone_age = absl::ZeroDuration();
  options.tombstones_per_service = 0;
  RpcStack stack({}, options);
  NamesClient client(stack, {});
  client.Expect({});
  stack.Register("api", "a");
  client.Expect({"api"});
  stack.Deregister("api", "a");
  for (int i = 0; i < 10 && stack.catalog.service_count() > 0; ++i) {
    stack.registry.Maintain();
    stack.Barrier();
  }
  ASSERT_EQ(stack.catalog.service_count(), 0u);
  client.Expect({});
}

TEST(DescribeInstanceTest, TellsEverything) {
  RpcStack stack;
  auto request = RpcStack::Request("Api", "a");
  request.set_permanent(false);
  request.mutable_ttl()->set_seconds(60);
  request.set_life_id(std::string(16, 'l'));
  auto* check = request.mutable_instance()->add_checks();
  check->set_id("up");
  check->mutable_ttl()->mutable_ttl()->set_seconds(10);
  const auto registered = stack.Register(request);
  v1::ReportHealthRequest report;
  *report.mutable_key() = registered.key();
  report.set_check_id("up");
  report.set_status(v1::WARNING);
  report.set_output("so so");
  v1::ReportHealthResponse reported;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stack.registry_stub->ReportHealth(&context, report, &reported).ok());
  }
  v1::DescribeInstanceRequest describe;
  describe.mutable_key()->set_service("api");
  describe.mutable_key()->set_id("a");
  v1::DescribeInstanceResponse all;
  grpc::ClientContext context;
  ASSERT_TRUE(stack.discovery_stub->DescribeInstance(&context, describe, &all).ok());
  EXPECT_EQ(all.instance().service(), "Api");
  EXPECT_EQ(all.instance().checks_size(), 1);
  EXPECT_EQ(all.endpoint().health(), v1::WARNING);
  EXPECT_EQ(all.incarnation(), registered.incarnation());
  EXPECT_EQ(all.create_seq(), registered.revision().seq());
  EXPECT_EQ(all.visible_seq(), reported.revision().seq());
  EXPECT_EQ(all.lease().ttl().seconds(), 60);
  EXPECT_GT(all.lease().remaining().seconds(), 50);
  ASSERT_EQ(all.checks_size(), 1);
  EXPECT_EQ(all.checks(0).latest().output(), "so so");
  EXPECT_GT(all.checks(0).latest().at().seconds(), 1'700'000'000);
  EXPECT_TRUE(all.fenced());
  EXPECT_EQ(all.origin(), "grpc");

  describe.mutable_key()->set_id("b");
  grpc::ClientContext again;
  const grpc::Status absent = stack.discovery_stub->DescribeInstance(&again, describe, &all);
  EXPECT_EQ(ReasonIn(absent), "INSTANCE_NOT_FOUND");
  EXPECT_EQ(absent.error_message(), "no instance \"b\" of service \"api\" without a node");
}

}  // namespace
}  // namespace muster::rpc

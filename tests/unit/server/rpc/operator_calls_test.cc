// SetMaintenance and SetServiceSettings over gRPC, and where what they said is seen.
#include <gtest/gtest.h>

#include <string>

#include "tests/support/rpc_stack.h"

namespace muster::rpc {
namespace {

class OperatorCallsTest : public testing::Test {
 protected:
  static v1::RegisterRequest OnNode(const std::string& id) {
    auto request = RpcStack::Request("api", id);
    request.mutable_instance()->set_node("n1");
    return request;
  }
  static v1::SetMaintenanceRequest OfInstance(const std::string& id, bool on,
                                              const std::string& reason = "") {
    v1::SetMaintenanceRequest request;
    request.mutable_key()->set_service("api");
    request.mutable_key()->set_node("n1");
    request.mutable_key()->set_id(id);
    request.set_on(on);
    request.set_reason(reason);
    return request;
  }
  static v1::SetMaintenanceRequest OfNode(bool on, const std::string& reason = "") {
    v1::SetMaintenanceRequest request;
    request.mutable_node()->set_node("n1");
    request.set_on(on);
    request.set_reason(reason);
    return request;
  }
  grpc::Status Set(const v1::SetMaintenanceRequest& request,
                   v1::SetMaintenanceResponse* response = nullptr) {
    v1::SetMaintenanceResponse ignored;
    grpc::ClientContext context;
    SetDeadline(context, absl::Seconds(20));
    return stack_.registry_stub->SetMaintenance(&context, request,
                                                response == nullptr ? &ignored : response);
  }
  v1::DescribeInstanceResponse Describe(const std::string& id) {
    v1::DescribeInstanceRequest request;
    *request.mutable_key() = OfInstance(id, true).key();
    v1::DescribeInstanceResponse out;
    grpc::ClientContext context;
    const grpc::Status status = stack_.discovery_stub->DescribeInstance(&context, request, &out);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return out;
  }

  RpcStack stack_;
};

TEST_F(OperatorCallsTest, WatchersAreToldOfMaintenance) {
  stack_.Register(OnNode("a"));
  stack_.Register(OnNode("b"));
  TestWatch watch(*stack_.discovery_stub);
  ASSERT_TRUE(watch.Subscribe(1, "api"));
  EXPECT_EQ(watch.Read().snapshot().endpoints_size(), 2);
  v1::SetMaintenanceResponse response;
  ASSERT_TRUE(Set(OfInstance("a", true), &response).ok());
  EXPECT_EQ(response.revision().seq(), stack_.catalog.revision().seq);
  v1::WatchResponse event = watch.Read();
  ASSERT_EQ(event.change().removed_size(), 1) << event.ShortDebugString();
  EXPECT_EQ(event.change().removed(0).id(), "a");
  EXPECT_EQ(stack_.Discover("api").endpoints_size(), 1) << "it reads what it wrote";
  ASSERT_TRUE(Set(OfInstance("a", true, "another reason")).ok());
  ASSERT_TRUE(Set(OfInstance("a", false)).ok());
  event = watch.Read();
  ASSERT_EQ(event.change().upserted_size(), 1) << "nothing was told of the reason";
  EXPECT_EQ(event.change().upserted(0).id(), "a");
}

TEST_F(OperatorCallsTest, ANodesInstancesAreAwayWhenTheCallReturns) {
  for (int i = 0; i < 300; ++i) stack_.Register(OnNode(absl::StrCat("i", i)));
  stack_.Register("api", "elsewhere");
  ASSERT_TRUE(Set(OfNode(true)).ok());
  EXPECT_EQ(stack_.Discover("api").endpoints_size(), 1);
  ASSERT_TRUE(Set(OfNode(false)).ok());
  EXPECT_EQ(stack_.Discover("api").endpoints_size(), 301);
}

TEST_F(OperatorCallsTest, DescribeSaysWhoSaidWhat) {
  stack_.Register(OnNode("a"));
  EXPECT_FALSE(Describe("a").has_maintenance());
  ASSERT_TRUE(Set(OfNode(true, "rack")).ok());
  v1::Maintenance maintenance = Describe("a").maintenance();
  EXPECT_FALSE(maintenance.instance());
  EXPECT_TRUE(maintenance.node());
  EXPECT_EQ(maintenance.reason(), "rack");
  EXPECT_GT(maintenance.since().seconds(), 1'700'000'000);
  ASSERT_TRUE(Set(OfInstance("a", true, "disk")).ok());
  const v1::DescribeInstanceResponse all = Describe("a");
  maintenance = all.maintenance();
  EXPECT_TRUE(maintenance.instance());
  EXPECT_TRUE(maintenance.node());
  EXPECT_EQ(maintenance.reason(), "disk") << "its own goes first";
  EXPECT_EQ(all.endpoint().state(), v1::MAINTENANCE);
  ASSERT_TRUE(Set(OfNode(false)).ok());
  EXPECT_FALSE(Describe("a").maintenance().node());
  ASSERT_TRUE(Set(OfInstance("a", false)).ok());
  EXPECT_FALSE(Describe("a").has_maintenance());
}

TEST_F(OperatorCallsTest, TheListOfServicesHasTheirSettings) {
  stack_.Register("plain", "a");
  v1::SetServiceSettingsRequest request;
  request.set_service("Api");
  request.mutable_settings()->set_panic(true);
  request.mutable_settings()->mutable_default_ttl()->set_seconds(5);
  v1::SetServiceSettingsResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stack_.registry_stub->SetServiceSettings(&context, request, &response).ok());
  EXPECT_GT(response.revision().seq(), 0u);
  grpc::ClientContext listing;
  v1::ListServicesResponse list;
  ASSERT_TRUE(stack_.discovery_stub->ListServices(&listing, {}, &list).ok());
  ASSERT_EQ(list.services_size(), 2);
  EXPECT_EQ(list.services(0).service(), "Api");
  EXPECT_EQ(list.services(0).settings().SerializeAsString(),
            request.settings().SerializeAsString());
  EXPECT_FALSE(list.services(1).has_settings());
  auto registration = RpcStack::Request("api", "a");
  registration.clear_permanent();
  EXPECT_EQ(stack_.Register(registration).ttl().seconds(), 5);
}

TEST_F(OperatorCallsTest, ErrorsCarryReasonAndMessage) {
  v1::SetMaintenanceRequest none;
  grpc::Status status = Set(none);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonIn(status), "INVALID_FIELD");
  EXPECT_EQ(status.error_message(), "target is not set; give key or node");
  status = Set(OfNode(true, std::string(513, 'r')));
  EXPECT_EQ(ReasonIn(status), "INVALID_FIELD");
  stack_.state.SetPhase(Phase::kLoading);
  EXPECT_EQ(ReasonIn(Set(OfNode(true))), "LOADING");
}

}  // namespace
}  // namespace muster::rpc

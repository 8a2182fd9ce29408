#include "server/rpc/errors.h"

#include <gtest/gtest.h>

#include <string>

#include "base/errors.h"
#include "google/rpc/error_details.pb.h"

namespace muster::rpc {
namespace {

using absl::StatusCode;
using base::MakeError;
using base::Reason;

google::rpc::Status Details(const grpc::Status& status) {
  google::rpc::Status out;
  EXPECT_TRUE(out.ParseFromString(status.error_details()));
  return out;
}

TEST(Errors, OkStaysOk) {
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
  EXPECT_EQ(ToStatusProto(absl::OkStatus()).code(), 0);
  EXPECT_EQ(ToStatusProto(absl::OkStatus()).details_size(), 0);
}

TEST(Errors, TheReasonAndTheFieldAreThereForPrograms) {
  const grpc::Status status = ToGrpc(base::WithField(
      MakeError(StatusCode::kInvalidArgument, Reason::kInvalidField, "port is 70000"),
      "instance.port"));
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "port is 70000");
  const google::rpc::Status details = Details(status);
  EXPECT_EQ(details.code(), grpc::INVALID_ARGUMENT);
  ASSERT_EQ(details.details_size(), 2);
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(details.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "INVALID_FIELD");
  EXPECT_EQ(info.domain(), "muster");
  google::rpc::BadRequest bad;
  ASSERT_TRUE(details.details(1).UnpackTo(&bad));
  EXPECT_EQ(bad.field_violations(0).field(), "instance.port");
}

TEST(Errors, TypeUrlsAreThoseThatOtherLanguagesKnow) {
  const google::rpc::Status details = ToStatusProto(base::WithRetryAfter(
      MakeError(StatusCode::kUnavailable, Reason::kLoading, "loading"), absl::Milliseconds(1500)));
  EXPECT_EQ(details.details(0).type_url(), "type.googleapis.com/google.rpc.ErrorInfo");
  EXPECT_EQ(details.details(1).type_url(), "type.googleapis.com/google.rpc.RetryInfo");
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(details.details(1).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
  EXPECT_EQ(retry.retry_delay().nanos(), 500'000'000);
}

TEST(Errors, AnUnknownOutcomeIsUnavailable) {
  const grpc::Status status =
      ToGrpc(MakeError(StatusCode::kUnknown, Reason::kOutcomeUnknown, "may be durable"));
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(Details(status).code(), grpc::UNAVAILABLE);
}

TEST(Errors, WithoutAReasonItIsInternal) {
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(ToStatusProto(absl::InternalError("x")).details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "INTERNAL");
}

}  // namespace
}  // namespace muster::rpc

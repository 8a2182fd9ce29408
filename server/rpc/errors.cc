#include "server/rpc/errors.h"

#include <string>

#include "absl/time/time.h"
#include "base/errors.h"
#include "base/text.h"
#include "google/rpc/error_details.pb.h"

namespace muster::rpc {
namespace {

using base::Reason;

// What the caller is told. The codes of absl are those of gRPC.
int WireCode(const absl::Status& status, Reason reason) {
  if (reason == Reason::kOutcomeUnknown || reason == Reason::kClosed) {
    return static_cast<int>(absl::StatusCode::kUnavailable);
  }
  return static_cast<int>(status.code());
}

void AddRetry(absl::Duration delay, google::rpc::Status& out) {
  google::rpc::RetryInfo retry;
  const int64_t ms = absl::ToInt64Milliseconds(delay);
  retry.mutable_retry_delay()->set_seconds(ms / 1000);
  retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(ms % 1000) * 1'000'000);
  out.add_details()->PackFrom(retry);
}

}  // namespace

google::rpc::Status ToStatusProto(const absl::Status& status) {
  google::rpc::Status out;
  if (status.ok()) return out;
  const Reason reason = base::ReasonOf(status).value_or(Reason::kInternal);
  out.set_code(WireCode(status, reason));
  out.set_message(std::string(status.message()));

  google::rpc::ErrorInfo info;
  info.set_reason(std::string(base::ReasonName(reason)));
  info.set_domain(kErrorDomain);
  out.add_details()->PackFrom(info);
  if (const auto delay = base::RetryAfterOf(status)) AddRetry(*delay, out);
  if (const std::string field = base::FieldOf(status); !field.empty()) {
    google::rpc::BadRequest bad;
    auto* violation = bad.add_field_violations();
    violation->set_field(field);
    violation->set_description(out.message());
    out.add_details()->PackFrom(bad);
  }
  return out;
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const google::rpc::Status details = ToStatusProto(status);
  return {static_cast<grpc::StatusCode>(details.code()), details.message(),
          details.SerializeAsString()};
}

}  // namespace muster::rpc

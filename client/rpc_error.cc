#include "client/rpc_error.h"

#include <grpcpp/support/status.h>

#include <utility>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace muster::client {
namespace {

constexpr char kReasonPayload[] = "muster/reason";

}  // namespace

RpcDetails DetailsOf(const grpc::Status& status) {
  RpcDetails details;
  google::rpc::Status wire;
  if (!wire.ParseFromString(status.error_details())) return details;
  for (const auto& any : wire.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::RetryInfo retry;
    if (any.Is<google::rpc::ErrorInfo>() && any.UnpackTo(&info)) details.reason = info.reason();
    if (any.Is<google::rpc::RetryInfo>() && any.UnpackTo(&retry)) {
      details.retry_after = absl::Seconds(retry.retry_delay().seconds()) +
                            absl::Nanoseconds(retry.retry_delay().nanos());
    }
  }
  return details;
}

std::string PlainMessage(const grpc::Status& status) {
  const std::string& message = status.error_message();
  for (const auto& [marker, what] : {std::pair<std::string, std::string>{
                                         "Failed to connect to remote host: ", "can't connect: "},
                                     {"SSL routines::", "can't connect: TLS: "}}) {
    const size_t at = message.rfind(marker);
    if (at != std::string::npos) return what + message.substr(at + marker.size());
  }
  return message;
}

absl::Status ToStatus(const grpc::Status& status) {
  return WithReason(
      absl::Status(static_cast<absl::StatusCode>(status.error_code()), PlainMessage(status)),
      DetailsOf(status).reason);
}

absl::Status WithReason(absl::Status status, const std::string& reason) {
  if (!reason.empty()) status.SetPayload(kReasonPayload, absl::Cord(reason));
  return status;
}

std::string ReasonOf(const absl::Status& status) {
  const auto reason = status.GetPayload(kReasonPayload);
  return reason ? std::string(*reason) : "";
}

}  // namespace muster::client

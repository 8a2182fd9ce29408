// Calls with one answer.
//
//   auto* call = new UnaryCall(count, response);
//   v1::RegisterRequest parsed;
//   if (absl::Status s = ReadRequest(*request, parsed); !s.ok()) return call->End(s);
//   registry.Register(parsed, caller, [call](auto result) { call->Answer(result); });
//   return call;
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/text.h"
#include "server/rpc/call_count.h"
#include "server/rpc/errors.h"
#include "server/rpc/slices.h"
#include "server/rpc/unreadable.h"

namespace muster::rpc {

// Over at once, in a handler that takes messages.
inline grpc::ServerUnaryReactor* Finished(grpc::CallbackServerContext* context,
                                          const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

// INVALID_ARGUMENT when the bytes are no such message.
template <typename Request>
absl::Status ReadRequest(const grpc::ByteBuffer& bytes, Request& request) {
  return ParseBytes(bytes, request) ? absl::OkStatus() : Unreadable();
}

// A call whose handler takes bytes: counted while it is under way. gRPC's interceptors, which do
// both for the other handlers, cost a tenth of a short call. Deletes itself when gRPC is done with
// it, so whoever holds a pointer calls Answer or End once and then lets go of it.
class UnaryCall : public grpc::ServerUnaryReactor {
 public:
  UnaryCall(CallCount& count, grpc::ByteBuffer* response) : call_(count), response_(response) {}

  UnaryCall* End(const absl::Status& status) {
    Finish(ToGrpc(status));
    return this;
  }
  template <typename Response>
  UnaryCall* Answer(const absl::StatusOr<Response>& response) {
    if (response.ok()) *response_ = EncodeBytes(*response);
    return End(response.status());
  }
  UnaryCall* AnswerBytes(absl::StatusOr<grpc::ByteBuffer> response) {
    if (response.ok()) *response_ = *std::move(response);
    return End(response.status());
  }
  void OnDone() override { delete this; }

 private:
  ~UnaryCall() override = default;

  const CallCount::Call call_;
  grpc::ByteBuffer* const response_;
};

// UNIMPLEMENTED, with a reason that tells it from a server that has never heard of the call.
inline absl::Status NotInThisRelease(std::string_view call) {
  return base::MakeError(absl::StatusCode::kUnimplemented, base::Reason::kNotInThisRelease,
                         absl::StrCat(base::Av(call), " is not in this release"));
}

}  // namespace muster::rpc

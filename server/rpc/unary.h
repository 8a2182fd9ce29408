// Calls with one answer.
//
//   UnaryCall call(*context, count, response);
//   v1::RegisterRequest parsed;
//   if (absl::Status s = ReadRequest(*request, parsed); !s.ok()) return call.End(s);
//   registry.Register(parsed, caller, [call](auto result) { call.Answer(result); });
//   return call.reactor();
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <string_view>
#include <utility>

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

// A call whose handler takes bytes: counted from here until it is answered. gRPC's interceptors do
// that for the other handlers, at some cost for each call; a reactor of our own would do it too,
// but gRPC hands the end of each call of such a one to a thread of its executor.
//
// A handle: copies mean the same call. End or Answer is called once, on any thread; the context and
// the response live until then.
class UnaryCall {
 public:
  UnaryCall(grpc::CallbackServerContext& context, CallCount& count, grpc::ByteBuffer* response)
      : count_(&count), reactor_(context.DefaultReactor()), response_(response) {
    count_->Begin();
  }

  grpc::ServerUnaryReactor* reactor() const { return reactor_; }

  grpc::ServerUnaryReactor* End(const absl::Status& status) const {
    grpc::ServerUnaryReactor* const reactor = reactor_;
    CallCount* const count = count_;
    reactor->Finish(ToGrpc(status));
    count->End();
    return reactor;
  }
  template <typename Response>
  grpc::ServerUnaryReactor* Answer(const absl::StatusOr<Response>& response) const {
    if (response.ok()) *response_ = EncodeBytes(*response);
    return End(response.status());
  }
  grpc::ServerUnaryReactor* AnswerBytes(absl::StatusOr<grpc::ByteBuffer> response) const {
    if (response.ok()) *response_ = *std::move(response);
    return End(response.status());
  }

 private:
  CallCount* count_;
  grpc::ServerUnaryReactor* reactor_;
  grpc::ByteBuffer* response_;
};

// UNIMPLEMENTED, with a reason that tells it from a server that has never heard of the call.
inline absl::Status NotInThisRelease(std::string_view call) {
  return base::MakeError(absl::StatusCode::kUnimplemented, base::Reason::kNotInThisRelease,
                         absl::StrCat(base::Av(call), " is not in this release"));
}

}  // namespace muster::rpc

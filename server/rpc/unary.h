// Calls with one answer.
//
//   void Register(const UnaryCall& call) {
//     v1::RegisterRequest parsed;
//     if (absl::Status s = ReadRequest(call, parsed); !s.ok()) return call.End(s);
//     registry.Register(parsed, caller, [call](auto result) { call.Answer(result); });
//   }
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>

#include <functional>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/text.h"
#include "server/rpc/calls.h"
#include "server/rpc/slices.h"
#include "server/rpc/unreadable.h"

namespace muster::rpc {

// A handle: copies mean the same call. End or Answer is called once, on any thread; the context and
// the request live until then.
class UnaryCall {
 public:
  explicit UnaryCall(UnaryState& state) : state_(&state) {}

  const grpc::ServerContext& context() const;
  const grpc::ByteBuffer& request() const;
  // Once at most: when the client gives up, or is gone; at once if it is. Not after the end.
  void OnCancel(std::function<void()> reaction) const;

  void End(const absl::Status& status) const;
  template <typename Response>
  void Answer(const absl::StatusOr<Response>& response) const {
    if (!response.ok()) return End(response.status());
    End(EncodeBytes(*response));
  }
  void AnswerBytes(const grpc::ByteBuffer& response) const { End(response); }
  void AnswerBytes(const absl::StatusOr<grpc::ByteBuffer>& response) const {
    if (!response.ok()) return End(response.status());
    End(*response);
  }

 private:
  void End(const grpc::ByteBuffer& response) const;

  UnaryState* state_;
};

// INVALID_ARGUMENT when the bytes are no such message.
template <typename Request>
absl::Status ReadRequest(const grpc::ByteBuffer& bytes, Request& request) {
  return ParseBytes(bytes, request) ? absl::OkStatus() : Unreadable();
}
template <typename Request>
absl::Status ReadRequest(const UnaryCall& call, Request& request) {
  return ReadRequest(call.request(), request);
}

// UNIMPLEMENTED, with a reason that tells it from a server that has never heard of the call.
inline absl::Status NotInThisRelease(std::string_view call) {
  return base::MakeError(absl::StatusCode::kUnimplemented, base::Reason::kNotInThisRelease,
                         absl::StrCat(base::Av(call), " is not in this release"));
}

}  // namespace muster::rpc

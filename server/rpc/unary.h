// Calls with one answer that are over at once.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/text.h"
#include "server/rpc/errors.h"

namespace muster::rpc {

inline grpc::ServerUnaryReactor* Finished(grpc::CallbackServerContext* context,
                                          const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

// UNIMPLEMENTED, with a reason that tells it from a server that has never heard of the call.
inline absl::Status NotInThisRelease(std::string_view call) {
  return base::MakeError(absl::StatusCode::kUnimplemented, base::Reason::kNotInThisRelease,
                         absl::StrCat(base::Av(call), " is not in this release"));
}

}  // namespace muster::rpc

#include "server/rpc/unreadable.h"

#include "base/errors.h"

namespace muster::rpc {

absl::Status Unreadable() {
  return base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
                         "request can't be read: it is not the message of this call, or holds text "
                         "that is not UTF-8");
}

}  // namespace muster::rpc

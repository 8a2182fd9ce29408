// Page tokens: opaque text that says where the next page begins and of which set.
//
// Thread safety: pure. A token is no secret and gives no right: it is checked against mistakes,
// not against malice.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/core/query.h"

namespace muster::rpc {

struct PageToken {
  uint64_t request = 0;  // hash of everything in the request that has to stay the same
  uint64_t epoch = 0;
  uint64_t seq = 0;        // of the view
  uint64_t remaining = 0;  // of the limit; 0 = no limit
  // The set is what panic returns, not what was selected.
  bool panic = false;
  core::QueryPosition after;
};

std::string EncodePageToken(const PageToken& token);
// Errors: INVALID_ARGUMENT (PAGE_TOKEN_INVALID).
absl::StatusOr<PageToken> DecodePageToken(std::string_view text);

absl::Status PageTokenInvalid(std::string_view why);

}  // namespace muster::rpc

// The conditions after '?' in muster:///NAME?tag=v2&zone=eu-1. Names and values are
// percent-encoded where they hold '%', '&', '=' or what can't stand in a URL; '+' means itself.
//
// Thread safety: pure. Errors: INVALID_ARGUMENT whose message goes on after the quoted target.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "muster/client/target.h"

namespace muster::client {

// Keys: tag (any number, at most 16), meta.KEY (at most 16), and each at most once namespace,
// version, region, zone, port, health (passing, warning, any), draining (true, false).
absl::Status ReadQuery(std::string_view text, Query& query);

}  // namespace muster::client

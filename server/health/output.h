// What a result says, from what was sent and what went wrong.
//
// Thread safety: pure.
#pragma once

#include <string>
#include <string_view>

#include "server/health/probe.h"

namespace muster::health {

// Well-formed UTF-8 of at most `limit` bytes: an invalid byte becomes U+FFFD, and no character is
// cut in two.
std::string ToUtf8(std::string_view text, size_t limit = kMaxOutput);

ProbeResult Passing(std::string_view output);
ProbeResult Failing(bool reached, std::string_view output);

}  // namespace muster::health

// A shell command that says how well something is: 0 passing, 1 warning, anything else critical, as
// the checks of Nagios and Consul do.
//
// Thread safety: all.
#pragma once

#include <atomic>
#include <string>

#include "absl/time/time.h"
#include "base/clock.h"
#include "muster/client/registration.h"

namespace muster::cli {

// Its output is the report's, the first 4 KiB of it. One that takes longer than `within`, or until
// `ended`, is killed, with all that it started, and critical.
client::HealthReport RunCheck(const std::string& command, absl::Duration within,
                              const base::Clock& clock, const std::atomic<bool>& ended);

// Of the above, for tests: appends what can be read at once, until `text` has 4 KiB, since there
// may be no end.
void ReadRest(int fd, std::string* text);

}  // namespace muster::cli

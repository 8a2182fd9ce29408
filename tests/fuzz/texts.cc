#include "base/duration_text.h"
#include "base/net_address.h"
#include "base/text.h"
#include "server/core/instance.h"
#include "tests/fuzz/targets.h"

namespace muster::fuzz {

void Texts(std::string_view data) {
  if (const auto duration = base::ParseDuration(data); duration.ok()) {
    Require(*duration >= absl::ZeroDuration(), "durations are not negative");
    const auto again = base::ParseDuration(base::FormatDuration(*duration));
    Require(again.ok() && *again == absl::Floor(*duration, absl::Milliseconds(1)),
            "a duration is read as it was written");
  }
  if (const auto address = base::ParseHostPort(data); address.ok()) {
    const auto again = base::ParseHostPort(base::FormatHostPort(*address));
    Require(again.ok() && again->host == address->host && again->port == address->port,
            "an address is read as it was written");
  }
  Require(!(base::IsUnspecified(data) || base::IsLoopback(data)) || base::IsIpLiteral(data) ||
              base::AsciiLower(data) == "localhost",
          "what is loopback or unspecified is an IP or localhost");
  const std::string escaped = base::EscapeForTerminal(data);
  Require(base::IsPrintableUtf8(escaped), "escaped text is printable");
  Require(!base::IsPrintableUtf8(data) || escaped.size() >= data.size(),
          "printable text is not cut");
  if (const auto name = core::NormalName("service name", data, "service"); name.ok()) {
    const auto again = core::NormalName("service name", *name, "service");
    Require(again.ok() && *again == *name, "a normal name is its own normal form");
  } else {
    Require(base::IsPrintableUtf8(std::string(name.status().message())),
            "an error can be shown on a terminal");
  }
}

}  // namespace muster::fuzz

#include "server/health/target.h"

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/names.h"
#include "base/net_address.h"
#include "base/text.h"
#include "server/core/check_rules.h"

namespace muster::health {
namespace {

absl::Status Bad(std::string_view message) {
  return base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField, message);
}

}  // namespace

absl::StatusOr<Target> ParseTarget(std::string_view text, const InstanceTarget& instance) {
  Target target;
  if (text.empty()) {
    if (instance.port == 0 || instance.port > 65535) {
      return Bad(
          "the instance has no port to probe; give it one, or the check a target with a port");
    }
    target.host = instance.address;
    target.port = static_cast<uint16_t>(instance.port);
  } else {
    auto parsed = base::ParseHostPort(text);
    if (!parsed.ok()) return parsed.status();
    target.host = std::move(parsed->host);
    target.port = parsed->port;
  }
  if (target.port == 0) return Bad("port 0 can't be probed; allowed: 1 to 65535");
  if (!base::IsIpLiteral(target.host)) {
    const std::string problem =
        target.host.empty() ? "is \"\"" : base::HostNameProblem(target.host);
    if (!problem.empty()) return Bad(absl::StrCat("host ", problem));
  }
  return target;
}

absl::Status SetTls(Target& target, bool skip_verify, std::string_view name) {
  if (name.empty()) name = target.host;
  if (!base::IsIpLiteral(name)) {
    // A certificate has the name without the dot of the root.
    if (name.ends_with('.')) name.remove_suffix(1);
    const std::string problem = name.empty() ? "is \".\"" : base::HostNameProblem(name);
    if (!problem.empty()) return Bad(absl::StrCat("tls_server_name ", problem));
  }
  target.tls = true;
  target.skip_verify = skip_verify;
  target.server_name = name;
  return absl::OkStatus();
}

absl::Duration IntervalOf(const v1::Check& check) { return core::TimesOf(check).interval; }

absl::Duration TimeoutOf(const v1::Check& check) { return core::TimesOf(check).timeout; }

}  // namespace muster::health

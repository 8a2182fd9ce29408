// What a check is about, read out of its definition.
//
// Thread safety: pure. Errors: INVALID_ARGUMENT, one line, fit to be shown as the check's output.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "muster/v1/types.pb.h"

namespace muster::health {

// Where an instance is.
struct InstanceTarget {
  std::string address;  // IP or host name
  uint32_t port = 0;    // 0: none
};

// Where a probe connects to, and how.
struct Target {
  std::string host;  // IP (IPv6 without brackets) or host name
  uint16_t port = 0;
  bool tls = false;
  bool skip_verify = false;
  std::string server_name;  // that the certificate has to have: IP or host name
};

// `text` is host:port; "" = where the instance is. The server name is the host.
absl::StatusOr<Target> ParseTarget(std::string_view text, const InstanceTarget& instance);

// `name`, unless it is "", in place of the host as the name that the certificate has to have.
absl::Status SetTls(Target& target, bool skip_verify, std::string_view name);

// From start to start of the check's runs, and of one run. Unset fields get their defaults.
absl::Duration IntervalOf(const v1::Check& check);
absl::Duration TimeoutOf(const v1::Check& check);

}  // namespace muster::health

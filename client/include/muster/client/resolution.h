// Who can be called, whoever says so, and how old that is.
//
// Thread safety: a value; the endpoints are shared and never change. Units: age as absl::Duration.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "muster/client/endpoint.h"

namespace muster::client {

struct Resolution {
  enum class Source : uint8_t {
    kRegistry,   // as the registry has it now
    kLastKnown,  // as the registry had it, `age` ago
    kSnapshot,   // as the registry had it, `age` ago, when this process hadn't started yet
    kDns,        // as DNS has it; `age` only when that can't be asked any more
    kStatic,     // as the name says itself, or Options::fallback_addresses
    kOverride,   // as the environment says
  };
  static constexpr size_t kSources = 6;
  // Why there is no endpoint.
  enum class Empty : uint8_t {
    kNot,             // there are some
    kUnknownService,  // nobody ever registered under this name, or not for a long time
    kNoInstances,     // the service is known and has no instance now
    kAllUnhealthy,    // there are some, and none as healthy as asked for, or all of them leave
    kFilteredOut,     // there are some, and none meets the conditions of the name
  };

  std::shared_ptr<const std::vector<std::shared_ptr<const Endpoint>>> endpoints;  // never null
  Source source = Source::kRegistry;
  absl::Duration age;  // since it was last known to be right
  Empty empty = Empty::kNot;
  // With kOverride, what was asked for in place of the name: `"users.internal" of USERS_URL`.
  std::string instead = {};

  // `no instance of "api" is healthy and active enough`; "" when there are endpoints. Escaped.
  // `service`: as the message shall call it.
  std::string WhyEmpty(const std::string& service) const;
};

// "registry", "last known", "snapshot", "DNS", "static", "environment".
std::string_view ToText(Resolution::Source source);

}  // namespace muster::client

// Consul's DNS names of services: [TAG.]NAME.service[.DATACENTER[.dc]].consul and, as RFC 2782 has
// it, _NAME._TAG[.service][.DATACENTER[.dc]].consul, where _tcp asks for no tag. All that stands
// before NAME is one tag, dots included; Consul compares it without case, muster as it is written.
// A '.' at the end changes nothing.
//
// Thread safety: pure. Errors: INVALID_ARGUMENT that quotes the name. Compared without case.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "muster/client/target.h"

namespace muster::client {

// Whether it ends with .consul, whatever stands before.
bool IsConsulName(std::string_view host);

// Service, tags and datacenter. REQUIRES: IsConsulName.
absl::StatusOr<Query> ParseConsulName(std::string_view host);

}  // namespace muster::client

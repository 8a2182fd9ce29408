// Zones as leases know them: a number made of the zone's name, so that a lease stays small and no
// list of names grows with what clients send. Equal names have equal numbers; two zones that share
// one by chance (1 in 4 billion) are counted together.
//
// Thread safety: pure. Cost: some tens of nanoseconds; a start reads every endpoint.
#pragma once

#include <cstdint>
#include <string_view>

namespace muster::core {

uint32_t ZoneTag(std::string_view zone);

// The zone of an encoded v1::Endpoint; its other fields are stepped over. "" for one that has none,
// and for bytes that are no endpoint.
std::string_view ZoneOf(std::string_view endpoint);

}  // namespace muster::core

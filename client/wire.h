// Between the library's values and the messages of muster.v1. Pure.
#pragma once

#include "muster/client/endpoint.h"
#include "muster/client/target.h"
#include "muster/v1/discovery.pb.h"
#include "muster/v1/types.pb.h"

namespace muster::client {

Endpoint FromWire(const v1::Endpoint& wire);
v1::Endpoint ToWire(const Endpoint& endpoint);

// Without sub_id and resume. The conditions that a server doesn't know (region, zone, port) are the
// client's own.
v1::Subscribe ToSubscribe(const Query& query);

}  // namespace muster::client

// Between the library's values and the messages of muster.v1. Pure.
#pragma once

#include <google/protobuf/duration.pb.h>

#include "absl/time/time.h"
#include "muster/client/endpoint.h"
#include "muster/client/target.h"
#include "muster/v1/discovery.pb.h"
#include "muster/v1/types.pb.h"

namespace muster::client {

Endpoint FromWire(const v1::Endpoint& wire);
v1::Endpoint ToWire(const Endpoint& endpoint);
// Within 292 years.
google::protobuf::Duration ToWire(absl::Duration duration);

// Without sub_id and resume. The conditions that a server doesn't know (region, zone, port) are the
// client's own.
v1::Subscribe ToSubscribe(const Query& query);

}  // namespace muster::client

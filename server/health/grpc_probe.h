// Checks a target by grpc.health.v1.Health: Check in a run, Watch as a watch.
//
// A watch tells of each change at once. When nothing has come for an interval, it asks for a sign
// of life by calling Check over the same connection, so that a target that is stopped or gone is
// found out within the timeout after that. Whatever it answers is a sign. HTTP/2's pings don't do
// for that: servers that allow one in five minutes, as is the default of most, close the connection
// of who sends more. Statuses come at most every 50 ms, one after the other.
//
// The certificate of a target over TLS is looked at by gRPC.
//
// Thread safety, ownership: probe.h. Cost: a channel for each check, once it has run, with a
// connection that stays open from run to run. After a failure the next run makes a new one.
#pragma once

#include <memory>

#include "server/health/grpc_plan.h"
#include "server/health/probe.h"
#include "server/health/probe_environment.h"

namespace muster::health {

std::unique_ptr<Prober> MakeGrpcProber(ProbeEnvironment& environment, GrpcPlan plan);

}  // namespace muster::health

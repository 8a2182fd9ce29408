// Checks a target by one HTTP/1.1 request: HTTP or HTTPS, on a new connection for each run.
//
// The answer's head decides, together with the body only where body_contains is asked for:
//  - A head that isn't complete at the timeout, or isn't one of HTTP/1, is a failure. It may have
//    16 KiB. Interim answers (1xx) are skipped, but 101.
//  - Without body_contains the body is for the output alone: it is read until it ends or 4 KiB are
//    there, for a tenth of the timeout at most. A slow, endless or broken body changes nothing.
//  - With body_contains an answer of an expected status is read until the text is found, the body
//    ends or 64 KiB of it are there. At the timeout, or when the body breaks off or isn't
//    well-formed before the text was found, the check has failed.
//
// Thread safety, ownership, cost: probe.h. A run holds at most 96 KiB.
#pragma once

#include <memory>

#include "server/health/http_plan.h"
#include "server/health/probe.h"
#include "server/health/probe_environment.h"

namespace muster::health {

std::unique_ptr<Prober> MakeHttpProber(ProbeEnvironment& environment, HttpPlan plan);

}  // namespace muster::health

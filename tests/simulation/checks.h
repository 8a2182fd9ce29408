// Compares all that a server answers with the model.
//
// Returns what is wrong in one line, "" = nothing. Thread safety: none.
#pragma once

#include <string>

#include "base/rng.h"
#include "tests/simulation/model.h"
#include "tests/simulation/server.h"

namespace muster::simulation {

// Views, checksums, empty reasons, names, counts, leases, and the server's own Verify.
std::string CheckServer(Server& server, const Model& model);

// One random question of a client: a service, a selector, a place that it is near to, pages.
std::string CheckQuery(Server& server, const Model& model, const std::string& service_key,
                       base::Rng& rng);

}  // namespace muster::simulation

// What this build is.
#pragma once

#include <string>
#include <string_view>

namespace muster::app {

// Like "0.1.0".
std::string_view Version();

// Compiler, build type, versions of the libraries: "gcc 12.2.0, Release, gRPC 1.51.1, ...".
std::string BuildText();

}  // namespace muster::app

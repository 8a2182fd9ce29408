// The version of this build, like "0.1.0".
#pragma once

#include <string_view>

namespace muster::app {

std::string_view Version();

}  // namespace muster::app

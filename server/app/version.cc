#include "server/app/version.h"

namespace muster::app {

std::string_view Version() { return MUSTER_VERSION; }

}  // namespace muster::app

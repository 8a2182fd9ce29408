// What happens when there is no memory.
#pragma once

namespace muster::app {

// From now on a process that gets no memory says so on stderr and ends with exit code 1, at once: a
// write that was not acknowledged may be lost, as with SIGKILL, and nothing else.
void EndWhenOutOfMemory();

}  // namespace muster::app

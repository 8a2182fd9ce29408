// The three standard descriptors, as a server wants them: there, and no way to be ended by.
#pragma once

namespace muster::app {

// Opens /dev/null where one is closed, so that no socket or file gets its number, and ignores
// SIGPIPE and SIGXFSZ: a reader that is gone, or a limit of file sizes, is an error of the write
// and not the end of the process. REQUIRES: called before anything is opened.
void SecureStandardStreams();

}  // namespace muster::app

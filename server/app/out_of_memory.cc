#include "server/app/out_of_memory.h"

#include <unistd.h>

#include <cstdlib>
#include <new>
#include <string_view>

namespace muster::app {

void EndWhenOutOfMemory() {
  std::set_new_handler([] {
    constexpr std::string_view kMessage =
        "musterd: out of memory: raise the limit, or lower limits.instances and rocksdb's "
        "buffers\n";
    [[maybe_unused]] const ssize_t unused =
        ::write(STDERR_FILENO, kMessage.data(), kMessage.size());
    std::_Exit(1);
  });
}

}  // namespace muster::app

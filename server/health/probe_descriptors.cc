#include "server/health/probe_descriptors.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace muster::health {

int OpenSocket(const ProbeDescriptors& descriptors, int family) {
  const int low = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (low < 0 || (low >= descriptors.first && low < descriptors.end)) return low;
  const int fd = fcntl(low, F_DUPFD_CLOEXEC, descriptors.first);
  const int error = fd < 0 ? errno : EMFILE;
  close(low);
  if (fd >= 0 && fd < descriptors.end) return fd;
  if (fd >= 0) close(fd);
  errno = error;
  return -1;
}

}  // namespace muster::health

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

bool ChannelRoom::Open(base::SteadyTime now) {
  base::MutexLock lock(mu_);
  while (!lingering_.empty() && lingering_.top() <= now) lingering_.pop();
  if (open_ + lingering_.size() >= most_) return false;
  ++open_;
  return true;
}

void ChannelRoom::Close(base::SteadyTime lingers_until) {
  base::MutexLock lock(mu_);
  --open_;
  lingering_.push(lingers_until);
}

bool ChannelRoom::Keep() {
  base::MutexLock lock(mu_);
  if (kept_ >= most_kept_) return false;
  ++kept_;
  return true;
}

void ChannelRoom::LetGo() {
  base::MutexLock lock(mu_);
  --kept_;
}

}  // namespace muster::health

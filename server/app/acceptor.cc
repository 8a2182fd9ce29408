#include "server/app/acceptor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace muster::app {
namespace {

constexpr int kRetryMs = 100;
// Then the other listeners and a stop get their turn.
constexpr int kAcceptsInTurn = 64;
constexpr absl::Duration kLogEvery = absl::Seconds(10);

// The connection that failed is gone; the next one may be well. accept(2) reports what went wrong
// on the network, too.
bool IsOfOneConnection(int error) {
  switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPERM:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case EOPNOTSUPP:
      return true;
    default:
      return false;
  }
}

}  // namespace

Acceptor::Acceptor(ListeningSockets sockets, const Options& options)
    : options_(options),
      port_(sockets.port),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      listeners_(std::move(sockets.listeners)) {}

void Acceptor::Start(std::function<void(int listener, int fd)> take) {
  take_ = std::move(take);
  thread_ = base::NamedThread("muster-accept", [this] { Run(); });
}

void Acceptor::Stop() {
  eventfd_write(wake_.get(), 1);
  thread_.Join();
  listeners_.clear();
}

uint64_t Acceptor::CountOpen() const {
  uint64_t open = 0;
  const int highest = highest_.load(std::memory_order_relaxed);
  for (int fd = options_.reserved; fd <= highest; ++fd) open += fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return open;
}

void Acceptor::Run() {
  std::vector<pollfd> polled = {{wake_.get(), POLLIN, 0}};
  for (const OwnedFd& listener : listeners_) polled.push_back({listener.get(), POLLIN, 0});
  bool able = true;
  for (;;) {
    // While nothing can be accepted the listeners stay readable: waiting for them would spin.
    poll(polled.data(), able ? polled.size() : 1, able ? -1 : kRetryMs);
    if (polled[0].revents != 0) return;
    able = true;
    for (const OwnedFd& listener : listeners_) able = AcceptReady(listener.get()) && able;
  }
}

bool Acceptor::AcceptReady(int listener) {
  for (int i = 0; i < kAcceptsInTurn; ++i) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      Take(listener, fd);
      continue;
    }
    const int error = errno;
    if (error == EAGAIN) return true;
    if (IsOfOneConnection(error)) continue;
    if (MayLog(failure_logged_)) {
      base::Log(base::LogLevel::kError, "can't accept connections, trying on",
                {{"error", std::generic_category().message(error)},
                 {"open_files_limit", absl::StrCat(sysconf(_SC_OPEN_MAX))}});
    }
    return false;
  }
  return true;
}

void Acceptor::Take(int listener, int accepted) {
  const OwnedFd low(accepted);
  OwnedFd high(fcntl(accepted, F_DUPFD_CLOEXEC, options_.reserved));
  if (const int fd = high.get(); fd >= 0 && fd < options_.end) {
    high.Release();
    highest_.store(std::max(highest_.load(std::memory_order_relaxed), fd),
                   std::memory_order_relaxed);
    take_(listener, fd);
    return;
  }
  last_refused_us_.store(options_.clock.Steady().us, std::memory_order_relaxed);
  const uint64_t refused = refused_.fetch_add(1, std::memory_order_relaxed) + 1;
  if (!MayLog(refusal_logged_)) return;
  const int64_t limit = sysconf(_SC_OPEN_MAX);
  const int64_t end = std::min<int64_t>(limit, options_.end);
  base::Log(base::LogLevel::kWarn, "connection closed at once: no descriptor left for it",
            {{"open_files_limit", absl::StrCat(limit)},
             {"connections_max", absl::StrCat(end - options_.reserved)},
             {"refused_so_far", absl::StrCat(refused)}});
}

bool Acceptor::MayLog(std::optional<base::SteadyTime>& last) const {
  const base::SteadyTime now = options_.clock.Steady();
  if (last && now - *last < kLogEvery) return false;
  last = now;
  return true;
}

}  // namespace muster::app

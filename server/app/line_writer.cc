#include "server/app/line_writer.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "absl/strings/str_cat.h"
#include "base/text.h"

namespace muster::app {

void LineWriter::Write(std::string_view line) {
  base::MutexLock lock(mu_);
  if (dropped_ > 0) {
    if (!WriteAll(absl::StrCat(lost_(dropped_), "\n"))) {
      ++dropped_;
      return;
    }
    dropped_ = 0;
  }
  if (!WriteAll(absl::StrCat(base::Av(line), "\n"))) ++dropped_;
}

bool LineWriter::WriteAll(std::string text) {
  if (cut_) text.insert(0, "\n");
  std::string_view rest = text;
  while (!rest.empty()) {
    pollfd ready{.fd = fd_, .events = POLLOUT, .revents = 0};
    const int patience = stalled_ ? 0 : static_cast<int>(absl::ToInt64Milliseconds(kPatience));
    const int polled = ::poll(&ready, 1, patience);
    if (polled < 0 && errno == EINTR) continue;
    stalled_ = polled == 0;
    // So much fits into a pipe that can take something.
    const ssize_t written =
        polled <= 0 ? -1 : ::write(fd_, rest.data(), std::min<size_t>(rest.size(), PIPE_BUF));
    if (written < 0 && polled > 0 && errno == EINTR) continue;
    if (written < 0) {
      if (rest.size() < text.size()) cut_ = true;
      return false;
    }
    rest.remove_prefix(static_cast<size_t>(written));
    cut_ = false;
  }
  return true;
}

}  // namespace muster::app

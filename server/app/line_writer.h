// Writes lines to a descriptor whose reader may be slow, halted or gone, and never waits for it
// long: who logs may be the ticker, and nobody's lease may hang on a log.
//
//   LineWriter out(STDERR_FILENO, [](uint64_t lost) { return absl::StrCat(lost, " lines lost"); });
//   out.Write("ready");
//
// A line waits for its reader for kPatience, and is dropped then; those that follow don't wait
// until the reader reads on. How many were dropped stands in a line of its own before the next one.
//
// Thread safety: all. Errors: none; what can't be written is dropped.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/time/time.h"
#include "base/mutex.h"

namespace muster::app {

class LineWriter {
 public:
  static constexpr absl::Duration kPatience = absl::Milliseconds(100);

  // `lost`: the line that says that so many were dropped.
  LineWriter(int fd, std::function<std::string(uint64_t)> lost) : fd_(fd), lost_(std::move(lost)) {}

  // Without a line end.
  void Write(std::string_view line);

 private:
  // False: the reader doesn't read, or is gone.
  bool WriteAll(std::string text) MUSTER_REQUIRES(mu_);

  const int fd_;
  const std::function<std::string(uint64_t)> lost_;
  base::Mutex mu_;
  uint64_t dropped_ MUSTER_GUARDED_BY(mu_) = 0;
  bool stalled_ MUSTER_GUARDED_BY(mu_) = false;
  // A line was cut off in its middle.
  bool cut_ MUSTER_GUARDED_BY(mu_) = false;
};

}  // namespace muster::app

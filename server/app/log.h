// Where the program's log lines go: stderr, one line each, as text or JSON.
//
//   time=2026-01-02T03:04:05.678Z level=info msg="service registered" service=web
//   {"time":"2026-01-02T03:04:05.678Z","level":"info","msg":"service registered","service":"web"}
//
// Thread safety: all. The level is that of base::SetLogLevel and can be changed at any time.
// Bytes that are no UTF-8 become \xNN, so a line is valid, and one line, whatever is logged.
#pragma once

#include <string>
#include <string_view>

#include "absl/types/span.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/app/config.h"

namespace muster::app {

// Without a line end. Pure.
std::string FormatLogLine(LogFormat format, base::SystemTime time, base::LogLevel level,
                          std::string_view message, absl::Span<const base::LogField> fields);

// To a descriptor whose reader nobody waits for (line_writer.h). `clock` outlives the result.
base::LogSink MakeLogSink(LogFormat format, const base::Clock& clock, int fd);

// From here on base::Log goes to stderr in this format, from this level up, and so does what gRPC
// and Protobuf log.
void InstallLog(LogFormat format, base::LogLevel level, const base::Clock& clock);

}  // namespace muster::app

// The log hook: what muster's own code logs through. The program decides where lines go; a library
// user who sets no sink gets them on stderr.
//
//   Log(LogLevel::kInfo, "service registered", {{"service", name}});
//
// Thread safety: all. Cost: a level that is off costs one atomic load (and the caller's arguments).
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace muster::base {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

struct LogField {
  std::string_view key;
  std::string value;
};

using LogSink =
    std::function<void(LogLevel, std::string_view message, absl::Span<const LogField> fields)>;

// Lines below `level` are dropped. Default: info.
void SetLogLevel(LogLevel level);
LogLevel GetLogLevel();
// debug, info, warn, error. INVALID_ARGUMENT otherwise.
absl::StatusOr<LogLevel> ParseLogLevel(std::string_view text);
std::string_view LogLevelName(LogLevel level);

// Null: back to stderr.
void SetLogSink(LogSink sink);

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});

}  // namespace muster::base

#include "base/log.h"

#include <array>
#include <atomic>
#include <cstdio>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/errors.h"
#include "base/mutex.h"
#include "base/text.h"

namespace muster::base {
namespace {

constexpr std::array<std::string_view, 4> kLevels = {"debug", "info", "warn", "error"};

std::atomic<LogLevel> g_level{LogLevel::kInfo};

struct SinkSlot {
  Mutex mu;
  std::shared_ptr<const LogSink> sink MUSTER_GUARDED_BY(mu);
};

SinkSlot& Slot() {
  static auto& slot = *new SinkSlot;
  return slot;
}

// Bare where a reader can still tell where the value ends.
std::string FieldText(std::string_view value) {
  if (!value.empty() && value.find_first_of(" \"=\\") == std::string_view::npos) {
    return EscapeForTerminal(value);
  }
  const std::string quoted = absl::StrReplaceAll(Av(value), {{"\\", "\\\\"}, {"\"", "\\\""}});
  return absl::StrCat("\"", EscapeForTerminal(quoted), "\"");
}

// One call per line, so that lines of several threads don't mix.
void WriteToStderr(LogLevel level, std::string_view message, absl::Span<const LogField> fields) {
  const absl::Time now = absl::FromUnixMicros(RealClock().System().us);
  std::string line =
      absl::StrCat(absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", now, absl::UTCTimeZone()), " ",
                   Av(LogLevelName(level)), " ", EscapeForTerminal(message));
  for (const LogField& field : fields) {
    absl::StrAppend(&line, " ", Av(field.key), "=", FieldText(field.value));
  }
  line.push_back('\n');
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace

void SetLogLevel(LogLevel level) { g_level = level; }
LogLevel GetLogLevel() { return g_level; }

absl::StatusOr<LogLevel> ParseLogLevel(std::string_view text) {
  for (size_t i = 0; i < kLevels.size(); ++i) {
    if (kLevels[i] == text) return static_cast<LogLevel>(i);
  }
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kInvalidField,
                   absl::StrCat("log level \"", EscapeForTerminal(text),
                                "\" is unknown; allowed: debug, info, warn, error"));
}

std::string_view LogLevelName(LogLevel level) { return kLevels[static_cast<size_t>(level)]; }

void SetLogSink(LogSink sink) {
  MutexLock lock(Slot().mu);
  Slot().sink = sink ? std::make_shared<const LogSink>(std::move(sink)) : nullptr;
}

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  if (level < g_level.load(std::memory_order_relaxed)) return;
  std::shared_ptr<const LogSink> sink;
  {
    MutexLock lock(Slot().mu);
    sink = Slot().sink;
  }
  const absl::Span<const LogField> span(fields.begin(), fields.size());
  if (sink != nullptr) {
    (*sink)(level, message, span);
  } else {
    WriteToStderr(level, message, span);
  }
}

}  // namespace muster::base

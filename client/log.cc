#include "muster/client/log.h"

#include "base/log.h"

namespace muster::client {

static_assert(static_cast<int>(LogLevel::kError) == static_cast<int>(base::LogLevel::kError));

void SetLogSink(std::function<void(const LogLine&)> sink) {
  if (!sink) return base::SetLogSink(nullptr);
  base::SetLogSink([sink = std::move(sink)](base::LogLevel level, std::string_view message,
                                            absl::Span<const base::LogField> fields) {
    LogLine line{.level = static_cast<LogLevel>(level), .message = message};
    for (const base::LogField& field : fields) line.fields.emplace_back(field.key, field.value);
    sink(line);
  });
}

void SetLogLevel(LogLevel level) { base::SetLogLevel(static_cast<base::LogLevel>(level)); }

}  // namespace muster::client

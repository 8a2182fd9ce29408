#include "server/app/log.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <unistd.h>

#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "base/text.h"
#include "server/app/line_writer.h"

namespace muster::app {
namespace {

std::string TimeText(base::SystemTime time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromUnixMicros(time.us),
                          absl::UTCTimeZone());
}

// Bare where a reader can still tell where the value ends.
std::string TextValue(std::string_view value) {
  const std::string safe = base::EscapeForTerminal(value);
  const bool bare =
      !value.empty() && safe == value && value.find_first_of(" \"=\\") == std::string_view::npos;
  if (bare) return safe;
  const std::string escaped =
      absl::StrReplaceAll(base::Av(value), {{"\"", "\\\""}, {"\\", "\\\\"}});
  return absl::StrCat("\"", base::EscapeForTerminal(escaped), "\"");
}

void AppendJsonAscii(char c, std::string& out) {
  if (c == '"' || c == '\\') {
    out.push_back('\\');
    out.push_back(c);
  } else if (c < 0x20 || c == 0x7F) {
    absl::StrAppend(&out, "\\u", absl::Hex(static_cast<uint8_t>(c), absl::kZeroPad4));
  } else {
    out.push_back(c);
  }
}

std::string JsonValue(std::string_view value) {
  std::string out = "\"";
  while (!value.empty()) {
    size_t size = 0;
    while (size < value.size() && static_cast<uint8_t>(value[size]) >= 0x80) ++size;
    if (size == 0) {
      AppendJsonAscii(value[0], out);
      value.remove_prefix(1);
      continue;
    }
    // No backslash in here but those that escaping adds.
    const std::string safe = base::EscapeForTerminal(value.substr(0, size));
    absl::StrAppend(&out, absl::StrReplaceAll(safe, {{"\\", "\\\\"}}));
    value.remove_prefix(size);
  }
  out.push_back('"');
  return out;
}

// What gRPC has to say. Most of its errors are of clients that do something wrong: a warning here.
void ForwardGrpc(gpr_log_func_args* args) {
  // The end of a health check's handshake that took too long, which the check tells itself.
  const bool told = absl::StrContains(args->message, "cancel_check_peer");
  const base::LogLevel level = args->severity == GPR_LOG_SEVERITY_DEBUG || told
                                   ? base::LogLevel::kDebug
                                   : base::LogLevel::kWarn;
  base::Log(level, "grpc", {{"message", args->message}});
}

// Protobuf reports requests that are not UTF-8; the caller is told as well.
void ForwardProtobuf(google::protobuf::LogLevel, const char*, int, const std::string& message) {
  base::Log(base::LogLevel::kDebug, "protobuf", {{"message", message}});
}

}  // namespace

std::string FormatLogLine(LogFormat format, base::SystemTime time, base::LogLevel level,
                          std::string_view message, absl::Span<const base::LogField> fields) {
  const std::string when = TimeText(time);
  const absl::string_view level_name = base::Av(base::LogLevelName(level));
  if (format == LogFormat::kText) {
    std::string line =
        absl::StrCat("time=", when, " level=", level_name, " msg=", TextValue(message));
    for (const base::LogField& field : fields) {
      absl::StrAppend(&line, " ", base::Av(field.key), "=", TextValue(field.value));
    }
    return line;
  }
  std::string line = absl::StrCat("{\"time\":\"", when, "\",\"level\":\"", level_name,
                                  "\",\"msg\":", JsonValue(message));
  for (const base::LogField& field : fields) {
    absl::StrAppend(&line, ",", JsonValue(field.key), ":", JsonValue(field.value));
  }
  line.push_back('}');
  return line;
}

base::LogSink MakeLogSink(LogFormat format, const base::Clock& clock, int fd) {
  const auto lost = [format, &clock](uint64_t lines) {
    return FormatLogLine(format, clock.System(), base::LogLevel::kWarn,
                         "log lines were dropped: nobody read them",
                         {{"lines", absl::StrCat(lines)}});
  };
  // base::Log has dropped what is below its level.
  return
      [format, &clock, writer = std::make_shared<LineWriter>(fd, lost)](
          base::LogLevel level, std::string_view message, absl::Span<const base::LogField> fields) {
        writer->Write(FormatLogLine(format, clock.System(), level, message, fields));
      };
}

void InstallLog(LogFormat format, base::LogLevel level, const base::Clock& clock) {
  base::SetLogLevel(level);
  base::SetLogSink(MakeLogSink(format, clock, STDERR_FILENO));
  gpr_set_log_function(ForwardGrpc);
  google::protobuf::SetLogHandler(ForwardProtobuf);
}

}  // namespace muster::app

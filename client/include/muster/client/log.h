// Where the library's lines go: calls that failed, a snapshot that is ignored. To stderr, unless
// the application takes them into its own log.
//
//   muster::client::SetLogSink([](const muster::client::LogLine& line) {
//     LOG(INFO) << line.message;
//   });
//
// Thread safety: all; the sink is called by many threads at the same time, and mustn't call the
// library.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace muster::client {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarn, kError };

struct LogLine {
  LogLevel level = LogLevel::kInfo;
  std::string_view message;  // what happened, in few words that don't change
  std::vector<std::pair<std::string, std::string>> fields;
};

// Null: back to stderr.
void SetLogSink(std::function<void(const LogLine&)> sink);
// Lines below it are dropped. Default: kInfo.
void SetLogLevel(LogLevel level);

}  // namespace muster::client

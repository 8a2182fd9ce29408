#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/errors.h"

namespace muster::base {
namespace {

using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::internal::CaptureStderr;
using ::testing::internal::GetCapturedStderr;

class LogTest : public ::testing::Test {
 protected:
  void TearDown() override {
    SetLogSink(nullptr);
    SetLogLevel(LogLevel::kInfo);
  }
};

TEST_F(LogTest, StderrLineIsTimeLevelMessageFields) {
  CaptureStderr();
  Log(LogLevel::kWarn, "lease expired", {{"service", "web"}, {"ttl", "30s"}});
  EXPECT_THAT(GetCapturedStderr(),
              ContainsRegex("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z "
                            "warn lease expired service=web ttl=30s\n$"));
}

TEST_F(LogTest, FieldsThatWouldRunTogetherAreQuoted) {
  CaptureStderr();
  Log(LogLevel::kInfo, "m",
      {{"space", "a b"}, {"empty", ""}, {"equals", "a=b"}, {"quote", "a\"b"}, {"plain", "ok"}});
  EXPECT_THAT(GetCapturedStderr(),
              EndsWith(" space=\"a b\" empty=\"\" equals=\"a=b\" quote=\"a\\\"b\" plain=ok\n"));
}

TEST_F(LogTest, AValueCannotForgeAField) {
  CaptureStderr();
  Log(LogLevel::kInfo, "m", {{"id", "x\\\" admin=yes"}});
  EXPECT_THAT(GetCapturedStderr(), EndsWith(" id=\"x\\\\\\\" admin=yes\"\n"));
}

TEST_F(LogTest, AValueCannotBreakTheLineOrDriveTheTerminal) {
  CaptureStderr();
  Log(LogLevel::kInfo, "one\ntwo", {{"id", "a\r\n\x1b[2J"}});
  const std::string line = GetCapturedStderr();
  EXPECT_THAT(line, HasSubstr("one\\x0atwo id=a\\x0d\\x0a\\x1b[2J\n"));
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
}

TEST_F(LogTest, LevelsBelowTheSetOneAreDropped) {
  std::vector<std::string> seen;
  SetLogSink([&](LogLevel, std::string_view message, absl::Span<const LogField>) {
    seen.emplace_back(message);
  });
  SetLogLevel(LogLevel::kWarn);
  EXPECT_EQ(GetLogLevel(), LogLevel::kWarn);
  Log(LogLevel::kDebug, "d");
  Log(LogLevel::kInfo, "i");
  Log(LogLevel::kWarn, "w");
  Log(LogLevel::kError, "e");
  EXPECT_THAT(seen, ElementsAre("w", "e"));
  SetLogLevel(LogLevel::kDebug);
  Log(LogLevel::kDebug, "d");
  EXPECT_THAT(seen, ElementsAre("w", "e", "d"));
}

TEST_F(LogTest, DebugIsOffAtFirst) { EXPECT_EQ(GetLogLevel(), LogLevel::kInfo); }

TEST_F(LogTest, TheSinkGetsRawFieldsAndMayLogItself) {
  std::vector<std::string> seen;
  SetLogSink([&](LogLevel level, std::string_view message, absl::Span<const LogField> fields) {
    seen.push_back(std::string(LogLevelName(level)) + " " + std::string(message));
    for (const LogField& f : fields) seen.push_back(std::string(f.key) + "=" + f.value);
    if (level == LogLevel::kError) Log(LogLevel::kInfo, "nested");
  });
  Log(LogLevel::kError, "raw\n", {{"k", "a b"}});
  EXPECT_THAT(seen, ElementsAre("error raw\n", "k=a b", "info nested"));
}

TEST_F(LogTest, ASinkMayReplaceItselfWhileItRuns) {
  SetLogSink([](LogLevel, std::string_view, absl::Span<const LogField>) { SetLogSink(nullptr); });
  CaptureStderr();
  Log(LogLevel::kInfo, "first");
  Log(LogLevel::kInfo, "second");
  EXPECT_THAT(GetCapturedStderr(), ContainsRegex("^[^ ]* info second\n$"));
}

TEST_F(LogTest, LevelsParseByName) {
  for (LogLevel level : {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarn, LogLevel::kError}) {
    const auto back = ParseLogLevel(LogLevelName(level));
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(*back, level);
  }
  for (std::string_view text : {"", "INFO", "warning", "info "}) {
    EXPECT_EQ(ReasonOf(ParseLogLevel(text).status()), Reason::kInvalidField) << text;
  }
  EXPECT_EQ(ParseLogLevel("loud").status().message(),
            "log level \"loud\" is unknown; allowed: debug, info, warn, error");
}

}  // namespace
}  // namespace muster::base

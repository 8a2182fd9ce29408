#include "server/app/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <grpc/support/log.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/fake_clock.h"
#include "base/rng.h"
#include "base/text.h"

namespace muster::app {
namespace {

using base::LogField;
using base::LogLevel;

constexpr base::SystemTime kTime{1'767'323'045'678'901};

std::string Line(LogFormat format, std::string_view message, std::vector<LogField> fields) {
  return FormatLogLine(format, kTime, LogLevel::kWarn, message, fields);
}

std::string ParseMessage(const std::string& json, const std::string& key) {
  google::protobuf::Struct parsed;
  const auto status = google::protobuf::util::JsonStringToMessage(json, &parsed);
  EXPECT_TRUE(status.ok()) << status.ToString() << "\n" << json;
  return parsed.fields().count(key) > 0 ? parsed.fields().at(key).string_value() : "(no key)";
}

TEST(LogText, IsKeyEqualsValue) {
  EXPECT_EQ(Line(LogFormat::kText, "disk is full", {{"path", "/data"}, {"free", "0"}}),
            "time=2026-01-02T03:04:05.678Z level=warn msg=\"disk is full\" path=/data free=0");
}

TEST(LogText, QuotesWhereTheEndWouldBeUnclear) {
  EXPECT_EQ(Line(LogFormat::kText, "m", {{"a", ""}, {"b", "x=\"y\""}, {"c", "d\\e"}}),
            "time=2026-01-02T03:04:05.678Z level=warn msg=m a=\"\" b=\"x=\\\"y\\\"\" c=\"d\\\\e\"");
}

TEST(LogText, StaysOneLineWhateverComes) {
  EXPECT_EQ(Line(LogFormat::kText, "a\nlevel=error", {{"k", "\x1B[2J\xFF"}}),
            "time=2026-01-02T03:04:05.678Z level=warn msg=\"a\\x0alevel=error\" "
            "k=\"\\x1b[2J\\xff\"");
}

TEST(LogJson, IsAnObject) {
  EXPECT_EQ(Line(LogFormat::kJson, "disk is full", {{"path", "/data"}}),
            "{\"time\":\"2026-01-02T03:04:05.678Z\",\"level\":\"warn\",\"msg\":\"disk is full\","
            "\"path\":\"/data\"}");
}

TEST(LogJson, KeepsTextAndEscapesWhatIsNoUtf8) {
  const std::string text = "q\" b\\ \n\t\x01\x7F é 名 \xF0\x9F\x98\x80";
  EXPECT_EQ(ParseMessage(Line(LogFormat::kJson, text, {}), "msg"), text);
  EXPECT_EQ(ParseMessage(Line(LogFormat::kJson, "m", {{"k", "a\xFF\xC3"}}), "k"), "a\\xff\\xc3");
  EXPECT_EQ(ParseMessage(Line(LogFormat::kJson, "m", {{"k\"\n", "v"}}), "k\"\n"), "v");
}

TEST(LogJson, IsValidForAnyBytes) {
  constexpr uint64_t kSeed = 20261124;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  base::SeededRng rng(kSeed);
  for (int round = 0; round < 2'000; ++round) {
    std::string bytes;
    for (uint64_t left = rng.Uniform(40); left > 0; --left) {
      bytes.push_back(static_cast<char>(rng.Next()));
    }
    const std::string line = Line(LogFormat::kJson, bytes, {{"k", bytes}});
    ASSERT_TRUE(base::IsPrintableUtf8(line)) << base::EscapeForTerminal(line);
    ASSERT_EQ(ParseMessage(line, "msg"), ParseMessage(line, "k"));
  }
}

class LogSinkTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::pipe2(pipe_, O_CLOEXEC | O_NONBLOCK), 0);
    base::SetLogSink(MakeLogSink(LogFormat::kText, clock_, pipe_[1]));
  }
  void TearDown() override {
    base::SetLogSink(nullptr);
    base::SetLogLevel(LogLevel::kInfo);
    ::close(pipe_[0]);
    ::close(pipe_[1]);
  }
  // Since the last time.
  std::string Out() const {
    char buffer[4096];
    const ssize_t got = ::read(pipe_[0], buffer, sizeof(buffer));
    return {buffer, static_cast<size_t>(std::max<ssize_t>(got, 0))};
  }

  base::FakeClock clock_;
  int pipe_[2] = {-1, -1};
};

TEST_F(LogSinkTest, WritesOneLineForEachCallWithTheTimeOfTheClock) {
  base::Log(LogLevel::kInfo, "first", {{"percent", "%d {}"}});
  clock_.Advance(absl::Seconds(61));
  base::Log(LogLevel::kError, "second");
  EXPECT_EQ(Out(),
            "time=2026-01-01T00:00:00.000Z level=info msg=first percent=\"%d {}\"\n"
            "time=2026-01-01T00:01:01.000Z level=error msg=second\n");
}

TEST_F(LogSinkTest, TheLevelChangesWhileRunning) {
  base::Log(LogLevel::kDebug, "hidden");
  base::SetLogLevel(LogLevel::kDebug);
  base::Log(LogLevel::kDebug, "shown");
  base::SetLogLevel(LogLevel::kError);
  base::Log(LogLevel::kWarn, "hidden again");
  EXPECT_EQ(Out(), "time=2026-01-01T00:00:00.000Z level=debug msg=shown\n");
}

TEST(InstallLog, WritesToStderrFromTheGivenLevelUp) {
  const base::FakeClock clock;
  testing::internal::CaptureStderr();
  InstallLog(LogFormat::kJson, LogLevel::kWarn, clock);
  base::Log(LogLevel::kInfo, "hidden");
  base::Log(LogLevel::kWarn, "shown");
  gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);  // as gRPC does when it is first used
  gpr_log(GPR_ERROR, "of %s", "gRPC");
  const std::string text = testing::internal::GetCapturedStderr();
  gpr_set_log_function(nullptr);
  base::SetLogSink(nullptr);
  base::SetLogLevel(LogLevel::kInfo);
  const std::string begin = "{\"time\":\"2026-01-01T00:00:00.000Z\",\"level\":\"warn\",\"msg\":";
  EXPECT_EQ(text, begin + "\"shown\"}\n" + begin + "\"grpc\",\"message\":\"of gRPC\"}\n");
}

}  // namespace
}  // namespace muster::app

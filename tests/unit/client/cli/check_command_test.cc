// run: the command that says how the program is.
#include "client/cli/check_command.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <string>

namespace muster::cli {
namespace {

using Health = client::Endpoint::Health;

client::HealthReport Checked(const std::string& command) {
  const std::atomic<bool> ended{false};
  return RunCheck(command, absl::Seconds(20), base::RealClock(), ended);
}

TEST(CheckCommandTest, SaysWhatItPrintedAndHowItEnded) {
  const client::HealthReport report = Checked("echo well");
  EXPECT_EQ(report.health, Health::kPassing);
  EXPECT_EQ(report.output, "well\n");
  EXPECT_EQ(Checked("exit 1").health, Health::kWarning);
  EXPECT_EQ(Checked("exit 2").health, Health::kCritical);
}

TEST(CheckCommandTest, WhatItLeavesBehindMayGoOnWriting) {
  const client::HealthReport report = Checked("yes & sleep 0.2; exit 0");
  EXPECT_EQ(report.health, Health::kPassing);
  EXPECT_EQ(report.output.size(), 4096u);
}

TEST(CheckCommandTest, OfWhatHasNoEndTheFirstIsRead) {
  const int endless = open("/dev/zero", O_RDONLY);
  std::string text = "some";
  ReadRest(endless, &text);
  EXPECT_EQ(text.size(), 4096u);
  close(endless);
}

}  // namespace
}  // namespace muster::cli

#include "base/duration_text.h"

#include <gtest/gtest.h>

#include "base/errors.h"

namespace muster::base {
namespace {

TEST(DurationTextTest, ReadsUnitsAndSums) {
  const std::pair<std::string_view, absl::Duration> cases[] = {
      {"0", absl::ZeroDuration()},        {"0s", absl::ZeroDuration()},
      {"250ms", absl::Milliseconds(250)}, {"30s", absl::Seconds(30)},
      {"1.5s", absl::Milliseconds(1500)}, {"2m", absl::Minutes(2)},
      {"1h30m", absl::Minutes(90)},       {"8784h", absl::Hours(8784)},
  };
  for (const auto& [text, want] : cases) {
    const auto got = ParseDuration(text);
    ASSERT_TRUE(got.ok()) << text << ": " << got.status();
    EXPECT_EQ(*got, want) << text;
  }
}

TEST(DurationTextTest, RefusesTheRest) {
  for (std::string_view text : {"",
                                " ",
                                "30",
                                "s",
                                "-1s",
                                "+1s",
                                "30 s",
                                "30s ",
                                "30S",
                                "1d",
                                "1us",
                                "1us30s",
                                "1ns",
                                "inf",
                                "-inf",
                                "8785h",
                                "99999999999999999999h",
                                "1s\n",
                                "1e3s",
                                "1,5s",
                                "."}) {
    const auto got = ParseDuration(text);
    EXPECT_EQ(got.status().code(), absl::StatusCode::kInvalidArgument) << '"' << text << '"';
    EXPECT_EQ(ReasonOf(got.status()), Reason::kInvalidField) << '"' << text << '"';
  }
}

TEST(DurationTextTest, TheErrorQuotesTheTextSafelyAndSaysWhatIsAllowed) {
  const std::string message(ParseDuration("3 da\x1b[ys").status().message());
  EXPECT_NE(message.find("\"3 da\\x1b[ys\""), std::string::npos) << message;
  EXPECT_NE(message.find("allowed: like 250ms, 30s"), std::string::npos) << message;
  EXPECT_LT(ParseDuration(std::string(100'000, 'x')).status().message().size(), 300u);
}

TEST(DurationTextTest, WritesWhatItReadsBack) {
  EXPECT_EQ(base::FormatDuration(absl::Seconds(30)), "30s");
  EXPECT_EQ(base::FormatDuration(absl::Milliseconds(250)), "250ms");
  EXPECT_EQ(base::FormatDuration(absl::Minutes(90)), "1h30m");
  EXPECT_EQ(base::FormatDuration(absl::Microseconds(999)), "0");
  for (int64_t ms : {0, 1, 999, 1000, 1001, 59'999, 60'000, 3'599'999, 86'400'000, 90'061'001}) {
    const std::string text = base::FormatDuration(absl::Milliseconds(ms));
    const auto back = ParseDuration(text);
    ASSERT_TRUE(back.ok()) << text;
    EXPECT_EQ(*back, absl::Milliseconds(ms)) << text;
  }
}

}  // namespace
}  // namespace muster::base

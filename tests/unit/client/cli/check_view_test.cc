// Checks as people read them.
#include "client/cli/check_view.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

namespace muster::cli {
namespace {

template <typename Message>
Message Text(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

std::string Kind(const std::string& check) {
  return CheckKindText(Text<v1::Check>(check),
                       Text<v1::Instance>("address: '10.0.0.7' port: 8080"));
}

TEST(CheckViewTest, KindAndTarget) {
  EXPECT_EQ(Kind("http { url: '/health' }"), "http /health");
  EXPECT_EQ(Kind("http { url: 'https://a/b' method: 'HEAD' }"), "http HEAD https://a/b");
  EXPECT_EQ(Kind("tcp {}"), "tcp 10.0.0.7:8080");
  EXPECT_EQ(Kind("tcp { target: '[::1]:6379' }"), "tcp [::1]:6379");
  EXPECT_EQ(Kind("grpc {}"), "grpc 10.0.0.7:8080");
  EXPECT_EQ(Kind("grpc { target: 'a:1' service: 'shop.Cart' }"), "grpc a:1 shop.Cart");
  EXPECT_EQ(Kind("ttl { ttl { seconds: 30 } }"), "ttl 30s");
  EXPECT_EQ(Kind(""), "unknown");
}

TEST(CheckViewTest, BeforeTheFirstResultItIsWhatItStartsWith) {
  EXPECT_EQ(CheckStatus(Text<v1::CheckState>("")), v1::CRITICAL);
  EXPECT_EQ(CheckStatus(Text<v1::CheckState>("check { initial_status: PASSING }")), v1::PASSING);
  EXPECT_EQ(CheckStatus(Text<v1::CheckState>(
                "check { initial_status: PASSING } latest { status: WARNING }")),
            v1::WARNING);
}

TEST(CheckViewTest, ACellForEachChangeTheOldestLeft) {
  const auto state = Text<v1::CheckState>(
      "transitions { status: CRITICAL at { seconds: 9 } } transitions { status: WARNING } "
      "transitions { status: PASSING } transitions {}");
  EXPECT_EQ(HistoryCell(state).text, "?PWC");
  EXPECT_EQ(HistoryCell(state).painted, "●\x1b[32m●\x1b[0m\x1b[33m●\x1b[0m\x1b[31m●\x1b[0m");
  EXPECT_EQ(StatusSince(state)->seconds(), 9);
  EXPECT_EQ(HistoryCell(Text<v1::CheckState>("latest { status: PASSING }")).text, "");
  EXPECT_EQ(StatusSince(Text<v1::CheckState>("latest { at { seconds: 9 } }")), nullptr);
}

TEST(CheckViewTest, TheFirstLineOfAnOutput) {
  EXPECT_EQ(FirstLine("", 10), "");
  EXPECT_EQ(FirstLine("\nsecond", 10), "");
  EXPECT_EQ(FirstLine("first\r\nsecond", 10), "first");
  EXPECT_EQ(FirstLine("a\x1b[2J\xff", 20), "a\\x1b[2J\\xff");
  // What is cut off may be the end of an escape, which is then plain text all the same.
  EXPECT_EQ(FirstLine("a\x1b[2J", 4), "a\\x…");
  EXPECT_EQ(FirstLine(std::string(4096, 'x'), 5), "xxxx…");
}

TEST(CheckViewTest, Ages) {
  EXPECT_EQ(AgeText(-absl::Seconds(3)), "0s");
  EXPECT_EQ(AgeText(absl::Milliseconds(59'999)), "59s");
  EXPECT_EQ(AgeText(absl::Seconds(60)), "1m");
  EXPECT_EQ(AgeText(absl::Seconds(192)), "3m12s");
  EXPECT_EQ(AgeText(absl::Seconds(3'659)), "1h");
  EXPECT_EQ(AgeText(absl::Hours(123)), "5d3h");
  EXPECT_EQ(AgeText(absl::InfiniteDuration()), "106751991167300d15h");
}

TEST(TableTest, TheLastColumnIsCutToTheTerminal) {
  Table table({"A", "OUTPUT"});
  table.Add({{"日本"}, {std::string(30, 'x'), Colour::kRed}});
  table.Add({{"b"}, {"y"}});
  EXPECT_EQ(table.Text(false), "A     OUTPUT\n日本  " + std::string(30, 'x') + "\nb     y\n");
  EXPECT_EQ(table.Text(false, 36), table.Text(false));
  EXPECT_EQ(table.Text(false, 35), "A     OUTPUT\n日本  " + std::string(28, 'x') + "…\nb     y\n");
  // A little is left of it, however narrow the terminal.
  EXPECT_EQ(table.Text(false, 10), "A     OUTPUT\n日本  " + std::string(19, 'x') + "…\nb     y\n");
}

TEST(TableTest, WhatIsPaintedIsShownWithColoursOnly) {
  Table table({"A", "B"});
  table.Add({{"PW", Colour::kNone, "\x1b[32m●\x1b[0m●"}, {"b"}});
  EXPECT_EQ(table.Text(false), "A   B\nPW  b\n");
  EXPECT_EQ(table.Text(true), "\x1b[2mA\x1b[0m   \x1b[2mB\x1b[0m\n\x1b[32m●\x1b[0m●  b\n");
}

}  // namespace
}  // namespace muster::cli

#include "base/text.h"

#include <gtest/gtest.h>

#include <vector>

namespace muster::base {
namespace {

using std::string_view_literals::operator""sv;

TEST(TextTest, EscapesControlCharacters) {
  EXPECT_EQ(EscapeForTerminal("a\tb\nc\x7f"), "a\\x09b\\x0ac\\x7f");
  EXPECT_EQ(EscapeForTerminal("\x1b[31mred"), "\\x1b[31mred");
  EXPECT_EQ(EscapeForTerminal("a\0b"sv), "a\\x00b");
  EXPECT_EQ(EscapeForTerminal("\xC2\x9B"), "\\xc2\\x9b");  // C1: the one-character ESC [
}

TEST(TextTest, EscapesWhatTurnsALine) {
  EXPECT_EQ(EscapeForTerminal("a\xE2\x80\xAE"
                              "b"),
            "a\\xe2\\x80\\xaeb");                                   // right-to-left override
  EXPECT_EQ(EscapeForTerminal("\xE2\x81\xA6"), "\\xe2\\x81\\xa6");  // isolate
  EXPECT_EQ(EscapeForTerminal("\xE2\x80\xA8"), "\\xe2\\x80\\xa8");  // line separator
}

TEST(TextTest, LeavesPrintableTextAlone) {
  for (std::string_view text : {"", "plain ASCII ~", "caf\xC3\xA9", "\xE2\x82\xAC", "\xE2\x80\x93",
                                "\xF0\x9F\x98\x80", "\xF4\x8F\xBF\xBF", "\xED\x9F\xBF"}) {
    EXPECT_EQ(EscapeForTerminal(text), text);
    EXPECT_TRUE(IsPrintableUtf8(text)) << EscapeForTerminal(text);
  }
}

TEST(TextTest, EscapesInvalidUtf8ByteByByte) {
  EXPECT_EQ(EscapeForTerminal("a\xFFz"), "a\\xffz");
  EXPECT_EQ(EscapeForTerminal("\xE2\x82z"), "\\xe2\\x82z");
}

TEST(TextTest, KnowsUtf8) {
  for (std::string_view text : {"", "a\n", "\xC2\x80", "caf\xC3\xA9"}) EXPECT_TRUE(IsUtf8(text));
  for (std::string_view text : {"\xFF", "a\xC3", "\xED\xA0\x80"}) EXPECT_FALSE(IsUtf8(text));
}

TEST(TextTest, KnowsWhatIsNotPrintableUtf8) {
  for (std::string_view text : {
           "\n"sv,
           "a\0"sv,
           "\x7f"sv,
           "\xC2\x80"sv,  // controls
           "\x80"sv,
           "\xC3"sv,
           "\xE2\x82"sv,
           "\xFF"sv,  // stray, cut short, never used
           "\xC0\xAF"sv,
           "\xC1\xBF"sv,
           "\xE0\x9F\xBF"sv,
           "\xF0\x8F\xBF\xBF"sv,  // overlong
           "\xED\xA0\x80"sv,
           "\xED\xBF\xBF"sv,  // surrogates
           "\xF4\x90\x80\x80"sv,
           "\xF5\x80\x80\x80"sv,  // above U+10FFFF
           "\xC3\x28"sv,
           "\xE2\x28\xA1"sv,
           "\xF0\x9F\x98\x28"sv,  // bad continuation
       }) {
    EXPECT_FALSE(IsPrintableUtf8(text)) << EscapeForTerminal(text);
  }
}

// Eight bytes are looked at together.
TEST(TextTest, KnowsWhatIsPrintableAsciiAtEveryPlace) {
  for (size_t size = 1; size <= 26; ++size) {
    for (size_t at = 0; at < size; ++at) {
      for (int byte = 0; byte < 256; ++byte) {
        for (const char other : {' ', '~'}) {
          std::string text(size, other);
          text[at] = static_cast<char>(byte);
          ASSERT_EQ(IsPrintableUtf8(text), byte >= 0x20 && byte < 0x7F)
              << size << " " << at << " " << byte;
        }
      }
    }
  }
}

TEST(TextTest, EscapedTextIsAlwaysPrintable) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string text = {static_cast<char>(a), static_cast<char>(b)};
      ASSERT_TRUE(IsPrintableUtf8(EscapeForTerminal(text))) << a << " " << b;
    }
  }
}

TEST(TextTest, LowersAsciiOnly) {
  EXPECT_EQ(AsciiLower("Web-01_A.Z"), "web-01_a.z");
  EXPECT_EQ(AsciiLower("\xC3\x89"), "\xC3\x89");
}

TEST(TextTest, FindsTheNearestName) {
  const std::vector<std::string_view> keys = {"data_dir", "grpc_listen", "log_level", "tls"};
  EXPECT_EQ(NearestName("log_levl", keys), "log_level");
  EXPECT_EQ(NearestName("grcp_listen", keys), "grpc_listen");
  EXPECT_EQ(NearestName("data-dir", keys), "data_dir");
  EXPECT_EQ(NearestName("tsl", keys), "");  // two edits in three letters: a guess
  EXPECT_EQ(NearestName("zebra", keys), "");
  EXPECT_EQ(NearestName("", keys), "");
  EXPECT_EQ(NearestName("word", {}), "");
}

TEST(TextTest, QuotedIsEscapedAndCutAtACharacter) {
  EXPECT_EQ(Quoted("a\n"), "\"a\\x0a\"");
  EXPECT_EQ(Quoted(std::string(64, 'x')), "\"" + std::string(64, 'x') + "\"");
  EXPECT_EQ(Quoted(std::string(63, 'x') + "\u00e9y"), "\"" + std::string(63, 'x') + "…\"");
  EXPECT_EQ(CharacterAt("a\u00e9b", 1), "'\u00e9' at 1");
}

}  // namespace
}  // namespace muster::base

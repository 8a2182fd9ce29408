#include "server/security/token_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "base/errors.h"

namespace muster::security {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::string_view kReader = "reader-token-0001";
constexpr std::string_view kWriter = "writer-token-0001";

TEST(TokenFile, GivesEachTokenItsRightsAndName) {
  const auto table = ParseTokenFile(
      "# people\n\n  read \t reader-token-0001  dashboards  \r\nwrite writer-token-0001");
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->size(), 2u);

  const Identity* reader = table->Find(kReader);
  ASSERT_NE(reader, nullptr);
  EXPECT_EQ(reader->name, "dashboards");
  EXPECT_TRUE(reader->Has(Right::kRead));
  EXPECT_FALSE(reader->Has(Right::kWrite));

  const Identity* writer = table->Find(kWriter);
  ASSERT_NE(writer, nullptr);
  EXPECT_EQ(writer->name, "token of line 4");
  EXPECT_TRUE(writer->Has(Right::kRead));
  EXPECT_TRUE(writer->Has(Right::kWrite));
}

TEST(TokenFile, FindsOnlyTheExactToken) {
  const auto table = ParseTokenFile("read reader-token-0001\n");
  ASSERT_TRUE(table.ok());
  EXPECT_EQ(table->Find("reader-token-0002"), nullptr);
  EXPECT_EQ(table->Find("reader-token-000"), nullptr);
  EXPECT_EQ(table->Find("reader-token-00011"), nullptr);
  EXPECT_EQ(table->Find("Reader-token-0001"), nullptr);
  EXPECT_EQ(table->Find(""), nullptr);
}

// The hash is that of `printf %s abcdefghijklmnop | sha256sum`.
TEST(TokenFile, TakesAHashInPlaceOfTheToken) {
  const std::string hash = "f39dac6cbaba535e2c207cd0cd8f154974223c848f727f98b3564cea569b41cf";
  for (const std::string& text : {hash, std::string("F3") + hash.substr(2)}) {
    const auto table = ParseTokenFile("write sha256:" + text + " deploys\n");
    ASSERT_TRUE(table.ok()) << table.status();
    ASSERT_NE(table->Find("abcdefghijklmnop"), nullptr);
    EXPECT_EQ(table->Find("abcdefghijklmnop")->name, "deploys");
    EXPECT_EQ(table->Find("sha256:" + text), nullptr) << "the hash itself is no token";
  }
}

TEST(TokenFile, TakesTokensFromSixteenTo512Characters) {
  EXPECT_TRUE(ParseTokenFile("read " + std::string(16, 'a')).ok());
  EXPECT_TRUE(ParseTokenFile("read " + std::string(512, 'a')).ok());
  EXPECT_FALSE(ParseTokenFile("read " + std::string(15, 'a')).ok());
  EXPECT_FALSE(ParseTokenFile("read " + std::string(513, 'a')).ok());
}

using BadLine = std::tuple<std::string, std::string>;
class TokenFileBadLine : public testing::TestWithParam<BadLine> {};

TEST_P(TokenFileBadLine, IsNamedWithoutTheToken) {
  const auto& [line, expected] = GetParam();
  const auto table = ParseTokenFile("# first\nread reader-token-0001\n" + line + "\n");
  ASSERT_FALSE(table.ok());
  EXPECT_EQ(base::ReasonOf(table.status()), base::Reason::kInvalidField);
  const std::string message(table.status().message());
  EXPECT_THAT(message, HasSubstr("line 3: "));
  EXPECT_THAT(message, HasSubstr("allowed: "));
  EXPECT_THAT(message, HasSubstr(expected));
  EXPECT_THAT(message, Not(HasSubstr("ecret")));
  EXPECT_THAT(message, Not(HasSubstr("reader-token")));
}

INSTANTIATE_TEST_SUITE_P(
    All, TokenFileBadLine,
    testing::Values(BadLine{"Secret-secret-secret", "read|write TOKEN"},
                    BadLine{"read Secret-secret-secret a b", "read|write TOKEN"},
                    BadLine{"admin Secret-secret-secret", "allowed: read, write"},
                    BadLine{"Secret-secret-secret read", "allowed: read, write"},
                    BadLine{"read Secret", "token has 6 characters; allowed: 16 to 512"},
                    BadLine{"read Secret-secret-\"secret\"", "A-Z a-z 0-9"},
                    BadLine{"read Secret-secret-\xC3\xA9-secret", "A-Z a-z 0-9"},
                    BadLine{"read sha256:Secret", "64 hex digits"},
                    BadLine{"read sha256:" + std::string(63, 'a') + "g", "64 hex digits"},
                    BadLine{"write reader-token-0001", "the token of line 2"},
                    BadLine{"read Secret-secret-secret \x01", "printable UTF-8"},
                    BadLine{"read Secret-secret-secret " + std::string(65, 'n'), "64 bytes"}));

TEST(TokenFile, RefusesAFileWithoutTokens) {
  for (const char* text : {"", "\n", "# all gone\n"}) {
    EXPECT_FALSE(ParseTokenFile(text).ok()) << '"' << text << '"';
  }
}

TEST(TokenFile, RefusesMoreThanTenThousandTokens) {
  std::string text;
  for (int i = 0; i < 10'000; ++i)
    text += "read token-number-" + std::to_string(100'000 + i) + "\n";
  EXPECT_TRUE(ParseTokenFile(text).ok());
  const auto table = ParseTokenFile(text + "read one-more-token-here\n");
  ASSERT_FALSE(table.ok());
  EXPECT_THAT(std::string(table.status().message()), HasSubstr("line 10001"));
}

}  // namespace
}  // namespace muster::security

#include "server/health/output.h"

#include <gtest/gtest.h>

#include "base/text.h"

namespace muster::health {
namespace {

TEST(OutputTest, TextStaysAsItIs) {
  EXPECT_EQ(ToUtf8(""), "");
  EXPECT_EQ(ToUtf8("disk \xC3\xA4\x1B[31m\n"), "disk \xC3\xA4\x1B[31m\n");
}

TEST(OutputTest, BytesThatAreNoTextAreReplaced) {
  EXPECT_EQ(ToUtf8("a\xFF\xFE z"), "a\xEF\xBF\xBD\xEF\xBF\xBD z");
  EXPECT_EQ(ToUtf8("\xC3"), "\xEF\xBF\xBD");
  EXPECT_EQ(ToUtf8("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD") << "a surrogate";
}

TEST(OutputTest, ItIsCutBetweenCharacters) {
  EXPECT_EQ(ToUtf8("abc\xC3\xA4", 4), "abc");
  EXPECT_EQ(ToUtf8("abc\xC3\xA4", 5), "abc\xC3\xA4");
  EXPECT_EQ(ToUtf8("ab\xFF", 4), "ab") << "what stands for the byte has three";
  const std::string cut = ToUtf8(std::string(10'000, '\xE4'));
  EXPECT_EQ(cut.size(), kMaxOutput / 3 * 3);
  EXPECT_TRUE(base::IsUtf8(cut));
  EXPECT_EQ(Passing(std::string(10'000, 'x')).output, std::string(kMaxOutput, 'x'));
}

}  // namespace
}  // namespace muster::health

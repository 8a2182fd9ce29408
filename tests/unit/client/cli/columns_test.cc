// How wide a text is, and where it is cut.
#include "client/cli/columns.h"

#include <gtest/gtest.h>

namespace muster::cli {
namespace {

TEST(ColumnsTest, WideCharactersTakeTwo) {
  EXPECT_EQ(Columns(""), 0u);
  EXPECT_EQ(Columns("größe"), 5u);
  EXPECT_EQ(Columns("日本"), 4u);
  EXPECT_EQ(Columns("한"), 2u);
  EXPECT_EQ(Columns("😀!"), 3u);
  EXPECT_EQ(Columns("●…"), 2u);
}

TEST(ColumnsTest, ATextIsCutWhereItWouldBeTooWide) {
  EXPECT_EQ(CutTo("", 1), "");
  EXPECT_EQ(CutTo("abc", 3), "abc");
  EXPECT_EQ(CutTo("abcd", 3), "ab…");
  EXPECT_EQ(CutTo("abcd", 1), "…");
  EXPECT_EQ(CutTo("größer", 4), "grö…");
  EXPECT_EQ(CutTo("日本", 4), "日本");
  EXPECT_EQ(CutTo("日本語", 5), "日本…");
  // A wide one that would fit by half is left out.
  EXPECT_EQ(CutTo("日本語", 4), "日…");
  EXPECT_EQ(CutTo("a日", 2), "a…");
  EXPECT_EQ(CutTo("日", 1), "…");
}

TEST(ColumnsTest, WhatIsCutFits) {
  const std::string text = "a日b😀c본dé…●efghij日日日";
  for (size_t columns = 1; columns <= Columns(text) + 2; ++columns) {
    EXPECT_LE(Columns(CutTo(text, columns)), columns);
  }
  EXPECT_EQ(CutTo(text, Columns(text)), text);
}

}  // namespace
}  // namespace muster::cli

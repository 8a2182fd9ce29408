#include "client/cli/parse.h"

#include <gtest/gtest.h>

namespace muster::cli {
namespace {

TEST(ParseTest, QuickForms) {
  v1::Instance a;
  ASSERT_TRUE(ParseQuickInstance({"web:8080"}, &a).ok());
  EXPECT_EQ(a.service(), "web");
  EXPECT_EQ(a.port(), 8080u);
  v1::Instance b;
  ASSERT_TRUE(ParseQuickInstance({"web", "[::1]:80"}, &b).ok());
  EXPECT_EQ(b.address(), "::1");
  EXPECT_EQ(b.port(), 80u);
  EXPECT_FALSE(ParseQuickInstance({"web:70000"}, &b).ok());
  EXPECT_FALSE(ParseQuickInstance({"web:1", "10.0.0.1:2"}, &b).ok());
}

TEST(ParseTest, ValuesOutOfRangeAreRefused) {
  EXPECT_FALSE(ParsePair("=v").ok());
  EXPECT_EQ(ParsePair("k=a=b")->second, "a=b");
  EXPECT_EQ(*ParsePairs("--meta", {"b=2", "a=1"}),
            (std::map<std::string, std::string>{{"a", "1"}, {"b", "2"}}));
  EXPECT_FALSE(ParsePairs("--meta", {"a=1", "b"}).ok());
  EXPECT_EQ(std::string(ParsePairs("--meta", {"a=1", "a=1"}).status().message()),
            "--meta gives \"a\" twice; allowed: each key once");
  EXPECT_FALSE(ParseLife("12").ok());
  EXPECT_EQ(ParseLife(std::string(32, 'f'))->size(), 16u);
  EXPECT_FALSE(ParseWeight("70000").ok());
  EXPECT_EQ(ParseWeight("3/1")->warning(), 1u);
  EXPECT_FALSE(ParseAddresses(" , ").ok());
  EXPECT_EQ(ParseAddresses("a:1, b:2")->size(), 2u);
}

}  // namespace
}  // namespace muster::cli

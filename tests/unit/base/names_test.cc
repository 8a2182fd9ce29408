#include "base/names.h"

#include <gtest/gtest.h>

#include <string>

#include "base/errors.h"

namespace muster::base {
namespace {

TEST(NamesTest, OfServices) {
  for (const std::string& name :
       {std::string("a"), std::string("A.b_c-9"), std::string(128, 'x')}) {
    EXPECT_TRUE(CheckName("service name", name).ok()) << name;
  }
  const absl::Status bad = CheckName("service name", "a b");
  EXPECT_EQ(ReasonOf(bad), Reason::kNameInvalid);
  EXPECT_EQ(std::string(bad.message()),
            "service name \"a b\" contains ' ' at 1; allowed: A-Z a-z 0-9 . _ -");
  EXPECT_FALSE(CheckName("service name", "").ok());
  EXPECT_FALSE(CheckName("service name", std::string(129, 'x')).ok());
}

TEST(NamesTest, OfHosts) {
  for (const char* host : {"a", "a.b-c.example", "a_b", "example.", "1a.2b"}) {
    EXPECT_EQ(HostNameProblem(host), "") << host;
  }
  for (const std::string& host :
       {std::string("a..b"), std::string("-a"), std::string("a-.b"), std::string("10.0.0.256"),
        std::string("a:80"), std::string(64, 'x'), std::string(254, 'x')}) {
    EXPECT_NE(HostNameProblem(host), "") << host;
  }
}

}  // namespace
}  // namespace muster::base

#include "server/core/selector.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"

namespace muster::core {
namespace {

std::string Long(size_t size) { return std::string(size, 'x'); }

TEST(SelectorTest, TextsHaveTheLimitsOfAnInstancesFields) {
  struct Case {
    std::function<void(v1::Selector&, size_t)> set;
    size_t max;
    std::string field;
  };
  const std::vector<Case> cases = {
      {[](auto& s, size_t n) { s.add_all_tags(Long(n)); }, 1024, "selector.all_tags[0]"},
      {[](auto& s, size_t n) { (*s.mutable_metadata())[Long(n)] = "v"; }, 128, "selector.metadata"},
      {[](auto& s, size_t n) { (*s.mutable_metadata())["k"] = Long(n); }, 512, "selector.metadata"},
      {[](auto& s, size_t n) { s.set_version(Long(n)); }, 128, "selector.version"},
  };
  for (const Case& c : cases) {
    v1::Selector fits;
    c.set(fits, c.max);
    EXPECT_TRUE(Selector::Compile(fits).ok()) << c.field;
    v1::Selector over;
    c.set(over, c.max + 1);
    const absl::Status status = Selector::Compile(over).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.field;
    EXPECT_EQ(base::FieldOf(status), c.field);
    EXPECT_TRUE(absl::StrContains(status.message(), absl::StrCat("at most ", c.max))) << status;
  }
  v1::Selector control;
  control.set_version("1\n2");
  EXPECT_EQ(base::FieldOf(Selector::Compile(control).status()), "selector.version");
}

TEST(SelectorTest, AllOfItHasALimit) {
  v1::Selector selector;
  for (int i = 0; i < 3; ++i) selector.add_all_tags(absl::StrCat(i, Long(1000)));
  EXPECT_TRUE(Selector::Compile(selector).ok());
  for (int i = 3; i < 16; ++i) selector.add_all_tags(absl::StrCat(i, Long(1000)));
  const absl::Status status = Selector::Compile(selector).status();
  EXPECT_EQ(base::FieldOf(status), "selector");
  EXPECT_TRUE(absl::StrContains(status.message(), "at most 4096")) << status;
}

TEST(SelectorTest, WhatIsNotKnownIsNotKept) {
  v1::Selector selector;
  selector.set_version("1");
  const std::string canonical = (*Selector::Compile(selector))->canonical();
  selector.GetReflection()->MutableUnknownFields(&selector)->AddLengthDelimited(1000, Long(99999));
  const auto compiled = Selector::Compile(selector);
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  EXPECT_EQ((*compiled)->canonical(), canonical);
}

}  // namespace
}  // namespace muster::core

#include "client/target_query.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace muster::client {
namespace {

using testing::HasSubstr;

TEST(TargetQueryTest, EachConditionHasItsPlace) {
  Query query{.service = "api"};
  ASSERT_TRUE(ReadQuery("tag=v2&tag=b%26w&meta.team=a%3Db&meta.empty=&namespace=shop&version=1.2"
                        "&region=eu&zone=eu-1&port=admin&health=warning&draining=true",
                        query)
                  .ok());
  EXPECT_EQ(query, (Query{.ns = "shop",
                          .service = "api",
                          .tags = {"v2", "b&w"},
                          .metadata = {{"empty", ""}, {"team", "a=b"}},
                          .version = "1.2",
                          .region = "eu",
                          .zone = "eu-1",
                          .port_name = "admin",
                          .min_health = Query::MinHealth::kWarning,
                          .include_draining = true}));
}

TEST(TargetQueryTest, PlusMeansItself) {
  Query query;
  ASSERT_TRUE(ReadQuery("tag=a+b%2Bc", query).ok());
  EXPECT_EQ(query.tags, std::vector<std::string>{"a+b+c"});
}

TEST(TargetQueryTest, HealthIsOneOfThree) {
  for (const auto& [word, health] : std::vector<std::pair<std::string, Query::MinHealth>>{
           {"passing", Query::MinHealth::kPassing},
           {"warning", Query::MinHealth::kWarning},
           {"any", Query::MinHealth::kAny}}) {
    Query query;
    ASSERT_TRUE(ReadQuery("health=" + word, query).ok());
    EXPECT_EQ(query.min_health, health);
  }
}

TEST(TargetQueryTest, WhatIsWrongIsNamed) {
  std::string tags = "tag=0";
  std::string metadata = "meta.0=0";
  for (int i = 1; i < 17; ++i) {
    tags += "&tag=" + std::to_string(i);
    metadata += "&meta." + std::to_string(i) + "=0";
  }
  for (const auto& [text, says] : std::vector<std::pair<std::string, std::string>>{
           {"", "\"\" without a value"},
           {"tag=a&", "\"\" without a value"},
           {"tags=v2",
            "unknown condition \"tags\"; allowed: tag, meta.KEY, namespace, version, "
            "region, zone, port, health, draining; did you mean tag?"},
           {"tag", "\"tag\" without a value"},
           {"tag=", "\"tag\" without a value"},
           {"tag=%4", "a '%' is not followed by two hexadecimal digits"},
           {"tag=%zz", "a '%' is not followed by two hexadecimal digits"},
           {"tag=%0a", "no printable UTF-8"},
           {"tag=%ff", "no printable UTF-8"},
           {"zone=a&zone=b", "\"zone\" twice"},
           {"meta.a=1&meta.a=2", "\"meta.a\" twice"},
           {"meta.=1", "meta. without a key"},
           {"health=bad", "health=\"bad\"; allowed: passing, warning, any"},
           {"draining=yes", "draining=\"yes\"; allowed: true, false"},
           {"namespace=a%2Fb", "namespace \"a/b\" contains '/' at 1"},
           {tags, "more than 16 tags"},
           {metadata, "more than 16 of meta.KEY"}}) {
    Query query;
    const absl::Status status = ReadQuery(text, query);
    ASSERT_FALSE(status.ok()) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(says));
  }
}

}  // namespace
}  // namespace muster::client

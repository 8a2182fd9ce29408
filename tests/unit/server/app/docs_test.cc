// The page that operators read names every key with its default, and every flag.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

#include "server/app/config.h"
#include "server/app/config_yaml.h"
#include "server/app/flags.h"

namespace muster::app {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using testing::HasSubstr;

std::string Page() {
  std::stringstream text;
  text << std::ifstream(MUSTER_CONFIG_DOC).rdbuf();
  return text.str();
}

// "" when there is no row of this key.
std::string Row(const std::string& page, const std::string& key) {
  const size_t begin = page.find("\n| `" + key + "` |");
  if (begin == std::string::npos) return "";
  return page.substr(begin + 1, page.find('\n', begin + 1) - begin - 1);
}

std::string DefaultText(const Message& message, const FieldDescriptor& field) {
  const auto& reflection = *message.GetReflection();
  if (field.is_repeated()) return "";
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_UINT32:
      return std::to_string(reflection.GetUInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return std::to_string(reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      std::stringstream text;
      text << reflection.GetDouble(message, &field);
      return text.str();
    }
    default:
      return reflection.GetString(message, &field);
  }
}

int CheckSection(const std::string& page, const std::string& prefix, const Message& message) {
  int checked = 0;
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    const std::string key = prefix + field.name();
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      checked +=
          CheckSection(page, key + ".", message.GetReflection()->GetMessage(message, &field));
      continue;
    }
    const std::string text = DefaultText(message, field);
    EXPECT_THAT(Row(page, key), HasSubstr(text.empty() ? "| none |" : "| `" + text + "` |")) << key;
    ++checked;
  }
  return checked;
}

TEST(ConfigurationPage, HasARowWithTheDefaultForEveryKey) {
  EXPECT_EQ(CheckSection(Page(), "", DefaultConfig()), 42);
}

TEST(ConfigurationPage, TheRowOfAKeyNamesItsFlagAndVariable) {
  const std::string page = Page();
  for (const Setting& setting : Settings()) {
    const std::string flag(setting.flag);
    EXPECT_THAT(Row(page, std::string(setting.field)),
                HasSubstr("| `" + flag + "` | `" + EnvironmentName(flag) + "` |"));
  }
}

TEST(ConfigurationPage, TheExampleIsAGoodConfiguration) {
  const std::string page = Page();
  const size_t begin = page.find("```yaml\n") + 8;
  const std::string example = page.substr(begin, page.find("```", begin) - begin);
  config::v1::Config config = DefaultConfig();
  const absl::Status status = ApplyYaml(example, "example", config);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(config.leases().default_ttl(), "15s");
  EXPECT_TRUE(Resolve(config).ok()) << Resolve(config).status();
}

// Whatever the help names, the page names too.
TEST(ConfigurationPage, NamesEveryFlagOfTheHelp) {
  const char* argv[] = {"musterd", "--help"};
  const auto help = ParseFlags(2, argv, [](const std::string&) { return std::nullopt; });
  const std::string page = Page();
  int flags = 0;
  for (size_t at = help.out.find("--"); at != std::string::npos; at = help.out.find("--", at + 2)) {
    const size_t end = help.out.find_first_not_of("abcdefghijklmnopqrstuvwxyz-", at);
    const std::string flag = help.out.substr(at, end - at);
    EXPECT_TRUE(page.find("`" + flag + "`") != std::string::npos ||
                page.find("`" + flag + " FILE`") != std::string::npos)
        << flag;
    ++flags;
  }
  EXPECT_GE(flags, 17);
}

}  // namespace
}  // namespace muster::app

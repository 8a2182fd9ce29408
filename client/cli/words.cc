#include "client/cli/words.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "base/text.h"

namespace muster::cli {
namespace {

// "; did you mean …?" or "".
std::string Suggestion(const std::string& word, const std::vector<std::string>& names) {
  const std::vector<std::string_view> candidates(names.begin(), names.end());
  const std::string nearest = base::NearestName(word, candidates);
  return nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?");
}

void AddFlagNames(const CLI::App& app, std::vector<std::string>* names) {
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names->push_back("--" + name);
  }
}

bool IsFlag(const std::string& word) { return word.size() > 1 && word.front() == '-'; }

std::vector<std::string> LeftWords(const CLI::App& app) {
  std::vector<std::string> words = app.remaining(true);
  words.erase(std::remove(words.begin(), words.end(), "--"), words.end());
  return words;
}

std::string UnknownFlag(const CLI::App& app, const std::string& word) {
  const std::string flag = word.substr(0, word.find('='));
  std::vector<std::string> names;
  AddFlagNames(app, &names);
  for (const CLI::App* command : app.get_subcommands()) AddFlagNames(*command, &names);
  return absl::StrCat("no flag '", flag, "'", Suggestion(flag, names));
}

// Nothing is an output, too: what a check printed.
bool MayBeEmpty(const CLI::App& command, const CLI::Option& option) {
  return command.get_name() == "report" && option.check_lname("output");
}

void CheckValuesOf(CLI::App& command) {
  const CLI::Validator text(
      [](std::string& value) { return base::IsUtf8(value) ? "" : std::string("not UTF-8"); }, "");
  const CLI::Validator given(
      [](std::string& value) { return value.empty() ? std::string("the value is empty") : ""; },
      "");
  for (CLI::Option* option : command.get_options()) {
    if (option->get_items_expected_max() == 0) continue;
    option->check(text);
    if (!option->get_positional() && !MayBeEmpty(command, *option)) option->check(given);
  }
}

}  // namespace

std::vector<std::string> WithHelpFlag(std::vector<std::string> words) {
  if (words.empty() || words.front() != "help") return words;
  words.erase(words.begin());
  words.push_back("--help");
  return words;
}

void CheckValues(CLI::App& app) {
  CheckValuesOf(app);
  for (CLI::App* command : app.get_subcommands(nullptr)) CheckValuesOf(*command);
}

std::string FlagWithoutValue(CLI::App& app, const std::vector<std::string>& words) {
  std::vector<std::string> names;
  AddFlagNames(app, &names);
  for (const CLI::App* command : app.get_subcommands(nullptr)) AddFlagNames(*command, &names);
  for (const std::string& word : words) {
    if (word == "--") break;
    if (!absl::EndsWith(word, "=")) continue;
    const std::string flag = word.substr(0, word.size() - 1);
    if (std::find(names.begin(), names.end(), flag) != names.end()) return flag;
  }
  return "";
}

std::string UnknownWord(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  const std::vector<std::string> words = LeftWords(app);
  if (words.empty()) return "";
  const std::string& word = words.front();
  if (IsFlag(word)) return UnknownFlag(app, word);
  if (!commands.empty()) {
    return absl::StrCat(commands.front()->get_name(), ": unexpected '", word, "'");
  }
  std::vector<std::string> names = {"help"};
  for (const CLI::App* command : app.get_subcommands(nullptr)) names.push_back(command->get_name());
  return absl::StrCat("no command '", word, "'", Suggestion(word, names));
}

std::string UsageText(const CLI::App& app, const CLI::ParseError& error) {
  const auto commands = app.get_subcommands();
  const bool missing = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr || (missing && commands.empty())) {
    const std::string unknown = UnknownWord(app);
    return unknown.empty() ? "a command is needed" : unknown;
  }
  // Words may be missing that a wrong flag stands for, or be one too many that is its value.
  const std::vector<std::string> words = LeftWords(app);
  const auto flag = std::find_if(words.begin(), words.end(), IsFlag);
  if (flag != words.end()) return UnknownFlag(app, *flag);
  std::string what = absl::StrReplaceAll(error.what(), {{"\n", " "}});
  if (missing) what = absl::StrCat("missing ", absl::StripSuffix(what, " is required"));
  return commands.empty() ? what : absl::StrCat(commands.front()->get_name(), ": ", what);
}

}  // namespace muster::cli

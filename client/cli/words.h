// The words of a command line: what is wrong with them, in the terms of this program.
//
// Pure. Texts come without the program's name.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace muster::cli {

// "help discover" asks for the same as "discover --help".
std::vector<std::string> WithHelpFlag(std::vector<std::string> words);

// Makes the parser refuse values that are not UTF-8, as all text in a message has to be, and empty
// values of flags: each is a variable of a script that was not set.
// REQUIRES: all flags have been added.
void CheckValues(CLI::App& app);

// The flag of a word like "--id=", after which the parser would take the next word; "" when there
// is none.
std::string FlagWithoutValue(CLI::App& app, const std::vector<std::string>& words);

// After parsing: says which word is neither a command nor a flag nor wanted; "" when all are.
std::string UnknownWord(const CLI::App& app);
// What the parser complains of.
std::string UsageText(const CLI::App& app, const CLI::ParseError& error);

}  // namespace muster::cli

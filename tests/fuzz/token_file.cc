#include "server/security/token_file.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "base/text.h"
#include "tests/fuzz/targets.h"

namespace muster::fuzz {

void TokenFile(std::string_view data) {
  const auto table = security::ParseTokenFile(data);
  if (!table.ok()) {
    Require(base::IsPrintableUtf8(std::string(table.status().message())),
            "an error can be shown on a terminal");
    return;
  }
  size_t lines = 0;
  for (absl::string_view line : absl::StrSplit(base::Av(data), '\n')) {
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line[0] == '#') continue;
    ++lines;
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (absl::StartsWith(words[1], "sha256:")) continue;
    const security::Identity* identity = table->Find(base::Sv(words[1]));
    Require(identity != nullptr, "a token of the file is known");
    Require(identity->read && identity->write == (words[0] == "write"),
            "a token has the right of its line");
  }
  Require(table->size() == lines, "each line is one token");
  Require(table->Find("not-a-token-of-any-file-here") == nullptr || lines > 0,
          "others are not known");
}

}  // namespace muster::fuzz

#include "server/security/token_file.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/errors.h"
#include "base/text.h"

namespace muster::security {
namespace {

constexpr size_t kTokenMin = 16;
constexpr size_t kTokenMax = 512;
constexpr size_t kNameMax = 64;
constexpr size_t kTokensMax = 10'000;

bool IsTokenCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
         std::string_view("-._~+/=").find(c) != std::string_view::npos;
}

absl::Status LineError(int line, std::string_view what) {
  return base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
                         absl::StrCat("line ", line, ": ", base::Av(what)));
}

std::optional<TokenDigest> DigestFromHex(absl::string_view hex) {
  const bool digits = std::all_of(hex.begin(), hex.end(), absl::ascii_isxdigit);
  if (hex.size() != 64 || !digits) return std::nullopt;
  const std::string bytes = absl::HexStringToBytes(hex);
  TokenDigest digest;
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

}  // namespace

class TokenFileParser {
 public:
  absl::Status AddLine(absl::string_view text, int line) {
    text = absl::StripAsciiWhitespace(text);
    if (text.empty() || absl::StartsWith(text, "#")) return absl::OkStatus();
    const std::vector<absl::string_view> words =
        absl::StrSplit(text, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (words.size() < 2 || words.size() > 3) {
      return LineError(line, "has the wrong number of words; allowed: read|write TOKEN [NAME]");
    }
    if (words[0] != "read" && words[0] != "write") {
      return LineError(line, "begins with no known right; allowed: read, write");
    }
    auto digest = ReadToken(words[1], line);
    if (!digest.ok()) return digest.status();
    auto name = ReadName(words, line);
    if (!name.ok()) return name.status();
    return Add({*digest, {*std::move(name), true, words[0] == "write"}, line});
  }

  absl::StatusOr<TokenTable> Take() {
    if (table_.entries_.empty()) {
      return base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField,
                             "no token is given; allowed: at least 1");
    }
    std::sort(table_.entries_.begin(), table_.entries_.end(),
              [](const auto& a, const auto& b) { return a.digest < b.digest; });
    return std::move(table_);
  }

 private:
  static absl::StatusOr<TokenDigest> ReadToken(absl::string_view word, int line) {
    if (absl::ConsumePrefix(&word, "sha256:")) {
      const auto digest = DigestFromHex(word);
      if (!digest) return LineError(line, "hash is malformed; allowed: sha256: and 64 hex digits");
      return *digest;
    }
    if (word.size() < kTokenMin || word.size() > kTokenMax) {
      return LineError(line, absl::StrCat("token has ", word.size(),
                                          " characters; allowed: ", kTokenMin, " to ", kTokenMax));
    }
    if (!std::all_of(word.begin(), word.end(), IsTokenCharacter)) {
      return LineError(line,
                       "token has a character that is not allowed; allowed: A-Z a-z 0-9 "
                       "- . _ ~ + / =, or sha256: and 64 hex digits");
    }
    return DigestToken(base::Sv(word));
  }

  static absl::StatusOr<std::string> ReadName(const std::vector<absl::string_view>& words,
                                              int line) {
    if (words.size() < 3) return absl::StrCat("token of line ", line);
    if (words[2].size() > kNameMax || !base::IsPrintableUtf8(base::Sv(words[2]))) {
      return LineError(line, absl::StrCat("name is not allowed; allowed: printable UTF-8, at most ",
                                          kNameMax, " bytes"));
    }
    return std::string(words[2]);
  }

  absl::Status Add(TokenTable::Entry entry) {
    if (table_.entries_.size() >= kTokensMax) {
      return LineError(entry.line, absl::StrCat("one token too many; allowed: ", kTokensMax));
    }
    for (const TokenTable::Entry& other : table_.entries_) {
      if (other.digest != entry.digest) continue;
      return LineError(entry.line, absl::StrCat("has the token of line ", other.line,
                                                "; allowed: each token once"));
    }
    table_.entries_.push_back(std::move(entry));
    return absl::OkStatus();
  }

  TokenTable table_;
};

TokenDigest DigestToken(std::string_view token) {
  TokenDigest digest;
  unsigned int size = 0;
  // Without a digest no token can be told from another: nothing to go on with.
  if (EVP_Digest(token.data(), token.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1 ||
      size != digest.size()) {
    std::abort();
  }
  return digest;
}

const Identity* TokenTable::Find(std::string_view token) const {
  const TokenDigest digest = DigestToken(token);
  const Identity* found = nullptr;
  // To the end in any case: the time taken does not tell where a token stands.
  for (const Entry& entry : entries_) {
    if (CRYPTO_memcmp(entry.digest.data(), digest.data(), digest.size()) == 0) {
      found = &entry.identity;
    }
  }
  return found;
}

const Identity* TokenTable::FindDigest(const TokenDigest& digest) const {
  const auto it = std::lower_bound(entries_.begin(), entries_.end(), digest,
                                   [](const Entry& a, const auto& b) { return a.digest < b; });
  return it != entries_.end() && it->digest == digest ? &it->identity : nullptr;
}

absl::StatusOr<TokenTable> ParseTokenFile(std::string_view text) {
  TokenFileParser parser;
  int line = 0;
  for (absl::string_view part : absl::StrSplit(base::Av(text), '\n')) {
    if (absl::Status status = parser.AddLine(part, ++line); !status.ok()) return status;
  }
  return parser.Take();
}

}  // namespace muster::security

// The file of bearer tokens, as text: parsing and looking up. Pure; no file is opened here.
//
//   # what     token                              name (optional)
//   read       3f9c1d20b7e84a55                   dashboards
//   write      sha256:<64 hexadecimal digits>     deploys
//
// `write` includes `read`. A token has 16 to 512 of A-Z a-z 0-9 - . _ ~ + / =.
// Tokens are kept as SHA-256 only and compared in constant time.
//
// Thread safety: TokenTable is immutable once parsed. Errors: INVALID_ARGUMENT that names the line
// and what is allowed, never any text that could be a token. Cost of Find: one hash, then one
// comparison for every token.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/security/identity.h"

namespace muster::security {

using TokenDigest = std::array<uint8_t, 32>;

TokenDigest DigestToken(std::string_view token);

class TokenTable {
 public:
  // Null when nobody has this token. Valid as long as the table.
  const Identity* Find(std::string_view token) const;
  // The same of one that was found before, by its digest. Cost: logarithmic.
  const Identity* FindDigest(const TokenDigest& digest) const;
  size_t size() const { return entries_.size(); }

 private:
  friend class TokenFileParser;
  struct Entry {
    TokenDigest digest;
    Identity identity;
    int line;
  };
  std::vector<Entry> entries_;  // by digest
};

// A file without any token is an error: it would lock out everybody.
absl::StatusOr<TokenTable> ParseTokenFile(std::string_view text);

}  // namespace muster::security

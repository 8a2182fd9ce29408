// A key that is hashed once, whatever it is looked up in.
//
//   const HashedKey key(text);
//   leases.Find(key); catalog.FindSlot(key);
//
// Ownership: the text outlives it. Thread safety: a value.
#pragma once

#include <cstddef>
#include <string_view>

#include "absl/hash/hash.h"
#include "base/text.h"

namespace muster::base {

struct HashedKey {
  explicit HashedKey(std::string_view of) : HashedKey(of, absl::HashOf(Av(of))) {}
  // As it was hashed before.
  HashedKey(std::string_view of, size_t its_hash) : text(of), hash(its_hash) {}
  std::string_view text;
  size_t hash;  // its top six bits choose a shard, the tables in the shards use the others
};

}  // namespace muster::base

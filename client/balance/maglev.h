// Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer",
// NSDI 2016, section 3.4), by weight: a table in which each endpoint has a part as large as its
// weight's share, and which changes little when one of them leaves.
//
// Thread safety: a table never changes. Cost: a lookup is a division; making one for 1,000
// endpoints about a millisecond.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "client/followed_service.h"

namespace muster::client {

struct EndpointLoad;

class Maglev {
 public:
  struct Member {
    EndpointPtr endpoint;
    std::shared_ptr<EndpointLoad> load;
    double weight = 1;  // above 0
  };

  // At least one.
  explicit Maglev(std::vector<Member> members);

  // Of a hash: who has it, and, for `probe` above 0, who would have it if those before were gone.
  const Member& Find(uint64_t hash, uint32_t probe = 0) const {
    return members_[table_[(hash + probe) % table_.size()]];
  }
  size_t size() const { return table_.size(); }
  const std::vector<Member>& members() const { return members_; }

 private:
  std::vector<Member> members_;
  std::vector<uint32_t> table_;
};

// The same in every process.
uint64_t StableHash(std::string_view text, uint64_t seed = 0);

}  // namespace muster::client

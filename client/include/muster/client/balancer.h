// Chooses whom to call.
//
//   auto balancer = client->Balance("api", {.policy = Policy::kLeastLoaded});
//   if (client::Pick pick = balancer->Next()) {
//     … call pick->address …
//     pick.Done();
//   }
//
// A balancer follows its service: a choice is made among the endpoints that the client knows at
// that moment, whoever it knows them from. Endpoints that get no calls aren't chosen: those that
// drain or are in maintenance, and those of weight 0.
//
// Thread safety: all members; a Pick is one thread's. Cost: no call, no lock, and no memory is
// allocated, but once for each thread when the endpoints have changed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "muster/client/endpoint.h"
#include "muster/client/resolution.h"

namespace muster::base {
class Clock;
}  // namespace muster::base

namespace muster::client {

enum class Policy : uint8_t {
  kRoundRobin,      // each in turn, whatever its weight
  kWeighted,        // in turn, by weight: earliest deadline first
  kLeastLoaded,     // of two by chance (by weight) the one with fewer calls under way and less
                    // latency: peak EWMA, over 10 s
  kConsistentHash,  // by a key: Maglev, by weight. A change of the endpoints moves few keys, and
                    // counts within 0.1 s
};

struct BalanceOptions {
  Policy policy = Policy::kWeighted;
  // Where this process runs: the endpoints of this zone are preferred, as long as they can bear
  // what is the zone's part; the others get the rest, by what they can bear more than their own
  // part. Each zone's part of the calls is the same, and what it can bear is its share of the
  // weight. Not for kConsistentHash. "" = no zone is preferred.
  std::string zone = {};
  // Only so many endpoints, by chance, and other ones for each balancer: not every client has to be
  // connected to every endpoint. One that leaves is replaced, the others stay. 0 = all.
  uint32_t subset = 0;
  // One that appears gets less at first, from a tenth of its weight on, up to all of it after this
  // time. Not for kConsistentHash.
  absl::Duration slow_start;
};

struct EndpointLoad;

// An endpoint that was chosen, and kept alive.
class Pick {
 public:
  // Nobody.
  Pick() = default;
  Pick(Pick&& other) noexcept;
  Pick& operator=(Pick&& other) noexcept;
  // Without Done the call counts as one that never ended: its time isn't known.
  ~Pick();

  explicit operator bool() const { return endpoint_ != nullptr; }
  // REQUIRES: there is one.
  const Endpoint& operator*() const { return *endpoint_; }
  const Endpoint* operator->() const { return endpoint_.get(); }
  // Who knows of it.
  Resolution::Source source() const { return source_; }

  // The call is over, and took as long as this pick is old.
  void Done();

 private:
  friend class BalancerCore;

  std::shared_ptr<const Endpoint> endpoint_;              // keeps all alive that it was chosen from
  const std::shared_ptr<const Endpoint>* own_ = nullptr;  // the same, by itself
  EndpointLoad* load_ = nullptr;                          // kept alive as the endpoint is
  const base::Clock* clock_ = nullptr;                    // null: nobody counts the call
  int64_t began_us_ = 0;                                  // on its steady time
  Resolution::Source source_ = Resolution::Source::kRegistry;
};

class BalancerCore;

class Balancer {
 public:
  explicit Balancer(std::shared_ptr<BalancerCore> core) : core_(std::move(core)) {}

  // Nobody: there is no endpoint; status() says why. With kConsistentHash, as if by a key that each
  // thread changes each time.
  Pick Next() const;
  // By this key, with kConsistentHash; otherwise as Next().
  Pick Next(std::string_view key) const;

  // OK: there is an endpoint to choose. Otherwise why there is none.
  absl::Status status() const;

 private:
  std::shared_ptr<BalancerCore> core_;
};

}  // namespace muster::client

// What a balancer chooses from: the endpoints of one moment with their weights. A view never
// changes; what is counted of an endpoint (Load) is shared by the views that have it.
//
// Thread safety: views are read by all; Views makes them on one thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "client/balance/alias_table.h"
#include "client/balance/maglev.h"
#include "client/followed_service.h"
#include "client/guard/circuit_breaker.h"
#include "muster/client/balancer.h"

namespace muster::client {

// Of one endpoint, counted by all threads: on a cache line of its own.
struct alignas(64) EndpointLoad : std::enable_shared_from_this<EndpointLoad> {
  explicit EndpointLoad(const BreakerOptions& options) : breaker(options) {}

  std::atomic<int32_t> outstanding{0};
  std::atomic<float> latency_us{0};    // peak EWMA, as of `updated_us`; 0: no call has ended
  std::atomic<int64_t> updated_us{0};  // on the steady clock
  std::atomic<bool> gone{false};       // it isn't among the endpoints any more
  std::atomic<bool> left_out{false};   // its breaker isn't closed
  std::atomic<int64_t> probe_us{0};    // when that lets a call through again
  // Of a caller's endpoints only.
  alignas(64) base::Mutex mu;
  CircuitBreaker breaker MUSTER_GUARDED_BY(mu);
};

struct Seat {
  EndpointPtr endpoint;
  std::shared_ptr<EndpointLoad> load;
  double weight = 1;    // above 0
  uint32_t number = 0;  // of the endpoint as long as it is there; another one may have it later
  double own = 1;       // its weight before the zone counts
  uint64_t came = 0;    // the number of its arrival, or of its last change; 0: one of the first
};

struct View {
  std::vector<Seat> seats;
  // Of other zones than the preferred one, which bears all its calls: for when that doesn't.
  std::vector<Seat> reserve;
  bool has_zones = false;                // more than one
  bool equal = true;                     // all weights are the same
  AliasTable chances;                    // with kLeastLoaded, unless they are equal
  std::shared_ptr<const Maglev> maglev;  // with kConsistentHash
  absl::Status status;                   // why there is no seat
  Resolution::Source source = Resolution::Source::kRegistry;  // whoever knows of them
};

class Views {
 public:
  // `seed`: of this balancer's choice of a subset.
  Views(BalanceOptions options, BreakerOptions breaker, uint64_t seed)
      : options_(std::move(options)), breaker_(breaker), seed_(seed) {}

  // Of these endpoints, now. REQUIRES: as when it was called first, but for the endpoints.
  std::shared_ptr<const View> Make(const EndpointList& endpoints, Resolution::Source source,
                                   absl::Status why_empty, base::SteadyTime now);
  // The preferred zone is taken for one without endpoints until then, as long as another has some,
  // and then for one with few of them.
  void SuspendZone(base::SteadyTime until, base::SteadyTime on_trial_until) {
    suspended_until_ = until;
    on_trial_until_ = on_trial_until;
  }
  // How many endpoints have come, or changed, since the first ones.
  uint64_t arrivals() const { return arrivals_; }
  // When the same endpoints make another view; nullopt: never.
  std::optional<base::SteadyTime> next() const { return next_; }

 private:
  struct Known {
    std::shared_ptr<EndpointLoad> load;
    base::SteadyTime since{};
    uint32_t number = 0;
    Address address;
    uint64_t revision = 0;
    uint64_t came = 0;
  };
  using Key = std::pair<std::string, std::string>;  // node, id

  void Learn(const EndpointList& endpoints, base::SteadyTime now);
  void LearnOf(const Endpoint& endpoint, bool is_new, base::SteadyTime now, Known* known);
  void MakeAgainAt(base::SteadyTime time);
  // What of its capacity the preferred zone counts with. `others`: whether another has some.
  double PartOfZone(bool others, base::SteadyTime now);
  std::vector<EndpointPtr> Chosen(const EndpointList& endpoints) const;
  double StartedBy(const Known& known, base::SteadyTime now);
  void PreferZone(View& view, base::SteadyTime now);
  void Hash(View& view, base::SteadyTime now);

  const BalanceOptions options_;
  const BreakerOptions breaker_;
  const uint64_t seed_;
  std::map<Key, Known> known_;
  std::vector<uint32_t> free_numbers_;
  std::map<std::string, base::SteadyTime> zones_;  // when they last had somebody
  base::SteadyTime suspended_until_{};
  base::SteadyTime on_trial_until_{};
  uint64_t arrivals_ = 0;
  bool began_ = false;  // the first endpoints start at their full weight
  std::shared_ptr<const Maglev> maglev_;
  base::SteadyTime hashed_{};
  std::optional<base::SteadyTime> next_;
};

}  // namespace muster::client

#include "client/failover.h"

#include <numeric>
#include <utility>

namespace muster::client {

bool IsRefusal(const absl::Status& status) {
  return absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status) ||
         absl::IsUnimplemented(status);
}

Failover::Failover(size_t servers, base::Rng& rng, Options options)
    : rng_(rng), options_(options), order_(servers) {
  std::iota(order_.begin(), order_.end(), 0);
  for (size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[rng.Uniform(i)]);
}

Failover::Next Failover::Failed(const absl::Status& why, bool was_good) {
  if (was_good) rounds_ = 0;
  turn_ = (turn_ + 1) % order_.size();
  // Also with servers left to be tried.
  Next next{.pause = options_.pause.Delay(rounds_, rng_)};
  if (++tried_ < order_.size()) return next;
  tried_ = 0;
  ++rounds_;
  next.all = true;
  next.refused = IsRefusal(why);
  if (next.refused) next.pause = options_.refused * (1 + rng_.Unit()) / 2;
  return next;
}

}  // namespace muster::client

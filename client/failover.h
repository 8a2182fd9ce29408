// Which of several servers is to be asked next, and when.
//
// A server that failed is given up for the next one, after a pause with jitter, so that the clients
// of one that dies don't come to the others all at once; the pause grows each time that all have
// failed in turn. Each client has an order of its own.
//
// Thread safety: none. Pure, but for the rng.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/backoff.h"
#include "base/rng.h"

namespace muster::client {

class Failover {
 public:
  struct Options {
    base::Backoff pause{absl::Milliseconds(100), absl::Seconds(1)};
    // When all servers refuse whoever this is, they are asked again after half to all of this.
    absl::Duration refused = absl::Seconds(10);
  };
  struct Next {
    absl::Duration pause;
    bool all = false;      // all servers have failed now, one after the other
    bool refused = false;  // as whoever this is
  };

  // REQUIRES: servers > 0; rng outlives it.
  Failover(size_t servers, base::Rng& rng, Options options);

  // To be asked now.
  size_t server() const { return order_[turn_]; }
  // In a row, in which all servers failed.
  int rounds() const { return rounds_; }

  // It answers.
  void Answered() { tried_ = 0; }
  // It failed, and the next one is to be asked after a pause. `was_good`: it had answered for long
  // enough to be trusted, so that this is the first loss and not one more.
  Next Failed(const absl::Status& why, bool was_good);

 private:
  base::Rng& rng_;
  const Options options_;
  std::vector<size_t> order_;
  size_t turn_ = 0;
  size_t tried_ = 0;  // servers in a row that failed
  int rounds_ = 0;
};

// Another try would end the same, until somebody changes a right or a program.
bool IsRefusal(const absl::Status& status);

}  // namespace muster::client

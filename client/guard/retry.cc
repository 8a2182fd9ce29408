#include "muster/client/retry.h"

#include <algorithm>
#include <utility>

namespace muster::client {

LimitedAttempts::LimitedAttempts(int attempts, std::set<absl::StatusCode> codes)
    : attempts_(attempts), codes_(std::move(codes)) {}

std::unique_ptr<RetryPolicy> LimitedAttempts::clone() const {
  return std::make_unique<LimitedAttempts>(attempts_, codes_);
}

bool LimitedAttempts::MayRetry(const absl::Status& failure, absl::Duration /*ran*/) {
  return ++made_ < attempts_ && codes_.contains(failure.code());
}

std::unique_ptr<BackoffPolicy> ExponentialBackoff::clone() const {
  return std::make_unique<ExponentialBackoff>(first_, most_, factor_);
}

absl::Duration ExponentialBackoff::Next(double unit) {
  const absl::Duration pause = bound_ * unit;
  bound_ = std::min(most_, bound_ * factor_);
  return pause;
}

}  // namespace muster::client

// Whether, and after how long, a call that failed is made again. An application that wants other
// rules derives its own: a call works on a clone.
//
// Thread safety: none: each call has clones of its own; clone() of what options hold: all.
#pragma once

#include <memory>
#include <set>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace muster::client {

class RetryPolicy {
 public:
  virtual ~RetryPolicy() = default;
  // As it was made.
  virtual std::unique_ptr<RetryPolicy> clone() const = 0;
  // An attempt failed; `ran`: since the call began. True: it may be made again.
  virtual bool MayRetry(const absl::Status& failure, absl::Duration ran) = 0;
};

// At most so many attempts in all, and only after these codes.
class LimitedAttempts : public RetryPolicy {
 public:
  explicit LimitedAttempts(int attempts,
                           std::set<absl::StatusCode> codes = {
                               absl::StatusCode::kUnavailable, absl::StatusCode::kDeadlineExceeded,
                               absl::StatusCode::kResourceExhausted, absl::StatusCode::kAborted});
  std::unique_ptr<RetryPolicy> clone() const override;
  bool MayRetry(const absl::Status& failure, absl::Duration ran) override;

 private:
  const int attempts_;
  const std::set<absl::StatusCode> codes_;
  int made_ = 0;
};

class BackoffPolicy {
 public:
  virtual ~BackoffPolicy() = default;
  virtual std::unique_ptr<BackoffPolicy> clone() const = 0;
  // Before the next attempt. `unit`: at random in [0, 1).
  virtual absl::Duration Next(double unit) = 0;
};

// With full jitter: anything up to a bound that grows by `factor` each time.
class ExponentialBackoff : public BackoffPolicy {
 public:
  ExponentialBackoff(absl::Duration first, absl::Duration most, double factor = 2)
      : first_(first), most_(most), factor_(factor), bound_(first) {}
  std::unique_ptr<BackoffPolicy> clone() const override;
  absl::Duration Next(double unit) override;

 private:
  const absl::Duration first_;
  const absl::Duration most_;
  const double factor_;
  absl::Duration bound_;
};

}  // namespace muster::client

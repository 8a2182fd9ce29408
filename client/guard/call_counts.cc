#include "client/guard/call_counts.h"

#include <algorithm>
#include <utility>

namespace muster::client {
namespace {

constexpr absl::Duration kMemory = absl::Hours(1);
constexpr absl::Duration kBetweenLooks = absl::Minutes(1);
constexpr int kLinesPerSecond = 10;

}  // namespace

CallCounts::CallCounts(std::string service) {
  base::MutexLock lock(mu_);
  counts_.service = std::move(service);
}

void CallCounts::AttemptEnded(const AttemptEvent& event, bool has_failed, base::SteadyTime now) {
  base::MutexLock lock(mu_);
  ++counts_.attempts;
  ++counts_.by_source[static_cast<size_t>(event.source)];
  if (now - forgot_ > kBetweenLooks) Forget(now);
  Known& known = endpoints_[event.endpoint];
  known.called = now;
  ++known.counts.attempts;
  known.counts.failed += has_failed ? 1 : 0;
  known.counts.latency.Add(absl::ToInt64Microseconds(event.took));
}

void CallCounts::CallEnded(int attempts, bool has_failed, absl::Duration took) {
  base::MutexLock lock(mu_);
  ++counts_.calls;
  counts_.failed += has_failed ? 1 : 0;
  counts_.not_made += attempts == 0 ? 1 : 0;
  counts_.latency.Add(absl::ToInt64Microseconds(took));
}

void CallCounts::BreakerIs(BreakerState state) {
  base::MutexLock lock(mu_);
  counts_.breaker = state;
}

void CallCounts::Forget(base::SteadyTime now) {
  forgot_ = now;
  absl::erase_if(endpoints_, [&](const auto& one) { return now - one.second.called > kMemory; });
}

ServiceMetrics CallCounts::Read(base::SteadyTime now) {
  base::MutexLock lock(mu_);
  Forget(now);
  ServiceMetrics read = counts_;
  for (const auto& [endpoint, known] : endpoints_) {
    read.endpoints.push_back(known.counts);
    read.endpoints.back().endpoint = endpoint;
  }
  std::sort(read.endpoints.begin(), read.endpoints.end(),
            [](const auto& a, const auto& b) { return a.endpoint < b.endpoint; });
  return read;
}

bool CallCounts::MayLog(base::SteadyTime now, uint64_t* unsaid) {
  base::MutexLock lock(mu_);
  const int64_t second = now.us / 1'000'000;
  if (second != log_second_) {
    log_second_ = second;
    logged_ = 0;
  }
  if (logged_ == kLinesPerSecond) {
    ++unsaid_;
    return false;
  }
  ++logged_;
  *unsaid = std::exchange(unsaid_, 0);
  return true;
}

}  // namespace muster::client

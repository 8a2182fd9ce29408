#include "server/health/probe_environment.h"

#include <utility>

namespace muster::health {

void CallCount::Enter() {
  base::MutexLock lock(mu_);
  ++count_;
}

void CallCount::Leave() {
  base::MutexLock lock(mu_);
  if (--count_ == 0) none_.NotifyAll();
}

void CallCount::WaitForNone() {
  base::MutexLock lock(mu_);
  while (count_ > 0) none_.Wait(mu_);
}

absl::StatusOr<Endpoints> AllowedEndpoints(const TargetGuard& guard,
                                           const Resolver::Addresses& addresses, uint16_t port) {
  Endpoints allowed;
  absl::Status refusal;
  for (const auto& address : addresses) {
    const boost::asio::ip::tcp::endpoint endpoint(address, port);
    absl::Status status = guard.Allow(endpoint);
    if (status.ok()) {
      allowed.push_back(endpoint);
    } else if (refusal.ok()) {
      refusal = std::move(status);
    }
  }
  if (allowed.empty()) return refusal;
  return allowed;
}

}  // namespace muster::health

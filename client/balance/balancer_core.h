// What a Balancer is: the present view, and what each thread keeps of it.
//
// A thread that chooses compares one number with that of the view that it holds, and takes the new
// view when it differs: as long as nothing changes, threads share no cache line that anybody
// writes. What a thread holds has a reference count of its own, for the same reason.
//
// Thread safety: Next and status: all. Update and Publish by one thread at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/mutex.h"
#include "client/balance/view.h"
#include "client/scheduler.h"
#include "muster/client/balancer.h"
#include "muster/client/connection.h"

namespace muster::client {

class BalancerCore : public std::enable_shared_from_this<BalancerCore> {
 public:
  // REQUIRES: clock and scheduler outlive it. `scheduler`: where views are made.
  BalancerCore(BalanceOptions options, uint64_t seed, const base::Clock& clock,
               Scheduler& scheduler);
  ~BalancerCore();

  Pick Next();
  Pick Next(std::string_view key);
  absl::Status status() const;

  // What the service's endpoints are from now on. `service`: for messages.
  void Update(const Resolution& resolution, const std::string& service);
  void Fail(absl::Status why);
  // Keeps what feeds it.
  void Hold(std::unique_ptr<Connection::Subscription> subscription);

  // A thread's.
  struct Slot;

 private:
  void Remake();
  Slot& SlotOfThread();
  void TakeView(Slot& slot) const;
  Pick Choose(Slot& slot, uint64_t hash);
  Pick Take(const Slot& slot, const EndpointPtr& endpoint, EndpointLoad* load) const;
  const Seat& LessLoaded(Slot& slot, int64_t now_us) const;

  const Policy policy_;
  const uint64_t id_;
  const base::Clock& clock_;
  Scheduler& scheduler_;
  // Of whoever updates it.
  Views views_;
  EndpointList endpoints_;
  absl::Status why_empty_ = absl::UnavailableError("nothing is known yet");
  Scheduler::Timer timer_ = 0;

  mutable base::Mutex mu_;
  std::shared_ptr<const View> view_ MUSTER_GUARDED_BY(mu_);
  std::unique_ptr<Connection::Subscription> subscription_;
  const std::shared_ptr<bool> exists_ = std::make_shared<bool>(true);
  // Read by every choice; nothing that is written more often may be near it.
  alignas(64) std::atomic<uint64_t> version_{0};
};

}  // namespace muster::client

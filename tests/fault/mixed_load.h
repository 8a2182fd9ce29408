// Registrations, deregistrations, health reports and expiries from several threads, until the
// registry takes no more.
//
// Ownership: everything outlives it. Stop() joins; every call has been answered then, if the engine
// is closed or writes.
#pragma once

#include <atomic>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/fake_clock.h"
#include "base/mutex.h"
#include "server/core/lease_table.h"
#include "server/core/registry.h"
#include "tests/support/process.h"

namespace muster::test {

class MixedLoad {
 public:
  // `stop` is asked now and then.
  MixedLoad(core::Registry& registry, core::LeaseTable& leases, base::FakeClock& clock,
            std::function<bool()> stop, uint64_t seed)
      : registry_(registry), leases_(leases), clock_(clock), stop_(std::move(stop)) {
    for (int i = 0; i < kWriters; ++i) {
      threads_.emplace_back([this, seed, i] { Write(seed * 31 + i); });
    }
    threads_.emplace_back([this] { Expire(); });
  }
  ~MixedLoad() { Stop(); }
  MixedLoad(const MixedLoad&) = delete;

  // Until `stop` says so.
  void Wait() {
    for (auto& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }
  void Stop() {
    stopped_ = true;
    Wait();
  }

  static v1::RegisterRequest Registration(std::mt19937_64& random) {
    v1::RegisterRequest request;
    auto& instance = *request.mutable_instance();
    instance.set_service(absl::StrCat("s", random() % 4));
    instance.set_id(absl::StrCat("i", random() % 24));
    instance.set_node(random() % 2 == 0 ? "" : "n1");
    instance.set_address("10.0.0.1");
    instance.set_port(static_cast<uint32_t>(1 + random() % 60'000));
    instance.add_tags(std::string(random() % 300, 't') + absl::StrCat(random()));
    auto& check = *instance.add_checks();
    check.set_id("c");
    check.mutable_ttl()->mutable_ttl()->set_seconds(10);
    if (random() % 3 == 0) request.set_life_id(std::string(16, static_cast<char>(random() % 8)));
    if (random() % 3 == 0) {
      request.set_permanent(true);
    } else {
      request.mutable_ttl()->set_seconds(static_cast<int64_t>(1 + random() % 3));
    }
    return request;
  }

 private:
  static constexpr int kWriters = 3;
  static constexpr int kInFlight = 8;  // of each writer

  bool Done() const { return stopped_ || refused_ || stop_(); }

  void Write(uint64_t seed) {
    std::mt19937_64 random(seed);
    base::Mutex mu;
    base::CondVar settled;
    int in_flight = 0;
    const auto done = [&](const absl::Status& status) {
      const auto reason = base::ReasonOf(status);
      if (reason == base::Reason::kStorageReadOnly || reason == base::Reason::kOutcomeUnknown ||
          reason == base::Reason::kClosed) {
        refused_ = true;
      }
      base::MutexLock lock(mu);
      --in_flight;
      settled.NotifyAll();
    };
    while (!Done()) {
      {
        base::MutexLock lock(mu);
        while (in_flight >= kInFlight) settled.Wait(mu);
        ++in_flight;
      }
      Call(random, done);
    }
    base::MutexLock lock(mu);
    while (in_flight > 0) settled.Wait(mu);
  }

  void Call(std::mt19937_64& random, const std::function<void(const absl::Status&)>& done) {
    const v1::RegisterRequest request = Registration(random);
    const uint64_t kind = random() % 10;
    if (kind < 6) {
      registry_.Register(request, {}, [done](const auto& result) { done(result.status()); });
      return;
    }
    v1::InstanceKey key;
    key.set_service(request.instance().service());
    key.set_node(request.instance().node());
    key.set_id(request.instance().id());
    if (kind < 8) {
      v1::DeregisterRequest deregister;
      *deregister.mutable_key() = key;
      registry_.Deregister(deregister, [done](const auto& result) { done(result.status()); });
      return;
    }
    v1::ReportHealthRequest report;
    *report.mutable_key() = key;
    report.set_check_id("c");
    report.set_status(random() % 2 == 0 ? v1::PASSING : v1::CRITICAL);
    report.set_output(absl::StrCat("report ", random()));
    registry_.ReportHealth(report, [done](const auto& result) { done(result.status()); });
  }

  // Leases of a second fall due after ten steps.
  void Expire() {
    for (int step = 0; !Done(); ++step) {
      clock_.Advance(absl::Milliseconds(100));
      leases_.Tick();
      registry_.ExpireDue();
      if (step % 16 == 15) registry_.Maintain();
      Pause(absl::Milliseconds(1));
    }
  }

  core::Registry& registry_;
  core::LeaseTable& leases_;
  base::FakeClock& clock_;
  const std::function<bool()> stop_;
  std::atomic<bool> stopped_{false};
  std::atomic<bool> refused_{false};
  std::vector<std::thread> threads_;
};

}  // namespace muster::test

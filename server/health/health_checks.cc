#include "server/health/health_checks.h"

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/mutex.h"
#include "base/thread.h"
#include "server/core/check_change.h"
#include "server/health/check_directory.h"
#include "server/health/prober_factory.h"
#include "server/health/tls.h"

namespace muster::health {
namespace {

using storage::Family;

void SetResult(const storage::Engine& engine, const std::string& instance_key,
               CheckScheduler::Definition& to) {
  const auto result = core::ReadResult(engine, Family::kChecks,
                                       storage::EncodeCheckKey(instance_key, to.check.id()));
  to.has_result = result.has_value();
  if (result) to.result = *result;
}

}  // namespace

// Everything but `mu` and what it guards belongs to the loop's thread once that runs.
struct HealthChecks::Inside : CheckStore {
  Inside(storage::Engine& engine, core::Registry& registry, const base::Clock& clock,
         base::Rng& seed, const HealthOptions& options)
      : engine(engine),
        registry(registry),
        rng(seed.Next()),
        options(options),
        directory([this] { Wake(); }),
        scheduler(clock, rng, *this,
                  [this](const v1::Check& check, const std::string& address, uint32_t port) {
                    return probers->Make(check, {address, port});
                  },
                  {.max_probes = options.config.max_probes(), .nudge = [this] { Nudge(); }}),
        clock(clock) {}

  // From any thread: the loop is to look. Once for all until it does.
  void Wake() {
    if (woken.exchange(true)) return;
    boost::asio::post(loop, [this] {
      woken = false;
      Look();
    });
  }

  // On the loop's thread.
  void Nudge() {
    if (std::exchange(nudged, true)) return;
    boost::asio::post(loop, [this] {
      nudged = false;
      Poll();
    });
  }

  void Look() {
    for (const DirectoryChange& change : directory.Take()) Follow(change);
    std::vector<std::pair<std::string, std::string>> told;
    {
      base::MutexLock lock(mu);
      told.swap(reports);
    }
    for (const auto& [key, check_id] : told) scheduler.Reported(key, check_id);
    Poll();
  }

  void Follow(const DirectoryChange& change) {
    auto checks = ReadChecks(change);
    if (!checks) return scheduler.Remove(change.key);
    for (CheckScheduler::Definition& one : checks->checks) SetResult(engine, change.key, one);
    scheduler.Set(checks->instance, std::move(checks->checks), change.fresh);
  }

  void Poll() {
    const base::SteadyTime next = scheduler.Poll();
    const SchedulerCounts now = scheduler.counts();
    checks = now.checks;
    probes = now.probes;
    waiting = now.waiting;
    timer.expires_after(std::chrono::microseconds(
        std::max<int64_t>((next - clock.Steady()) / absl::Microseconds(1), 0)));
    timer.async_wait([this](const boost::system::error_code& error) {
      if (!error) Poll();
    });
  }

  // Of CheckStore. The registry answers on a thread of the engine's.
  void SetOutcome(core::CheckOutcome outcome, std::function<void(absl::Status)> done) override {
    registry.SetOutcome(std::move(outcome), [this, done = std::move(done)](absl::Status status) {
      boost::asio::post(loop, [this, done, status] {
        done(status);
        Poll();
      });
    });
  }

  void Deregister(const std::string& instance_key, uint64_t incarnation) override {
    const auto names = storage::DecodeInstanceKey(instance_key);
    if (!names) return;
    v1::DeregisterRequest request;
    *request.mutable_key() = core::ToProto(*names);
    request.set_incarnation(incarnation);
    registry.Deregister(request, [](const auto&) {});
  }

  storage::Engine& engine;
  core::Registry& registry;
  base::SeededRng rng;
  const HealthOptions options;
  boost::asio::io_context loop{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work =
      boost::asio::make_work_guard(loop);
  boost::asio::steady_timer timer{loop};
  std::unique_ptr<ProberFactory> probers;
  CheckDirectory directory;
  CheckScheduler scheduler;
  const base::Clock& clock;

  bool nudged = false;
  std::atomic<bool> woken{false};
  std::atomic<uint64_t> checks{0}, probes{0}, waiting{0};
  base::Mutex mu;
  // Instance keys and check ids, in the order in which they came.
  std::vector<std::pair<std::string, std::string>> reports MUSTER_GUARDED_BY(mu);
  base::NamedThread thread;
};

absl::StatusOr<std::unique_ptr<HealthChecks>> HealthChecks::Create(storage::Engine& engine,
                                                                   core::Registry& registry,
                                                                   const base::Clock& clock,
                                                                   base::Rng& rng,
                                                                   HealthOptions options) {
  auto inside = std::make_unique<Inside>(engine, registry, clock, rng, options);
  auto probers = ProberFactory::Create(inside->loop, options.config,
                                       {.loopback_ok = options.loopback_ok,
                                        .resolver = nullptr,
                                        .descriptors = options.descriptors});
  if (!probers.ok()) return probers.status();
  inside->probers = *std::move(probers);
  registry.SetReportListener([&in = *inside](std::string_view key, std::string_view check_id) {
    {
      base::MutexLock lock(in.mu);
      in.reports.emplace_back(key, check_id);
    }
    in.Wake();
  });
  return std::unique_ptr<HealthChecks>(new HealthChecks(std::move(inside)));
}

HealthChecks::HealthChecks(std::unique_ptr<Inside> inside) : inside_(std::move(inside)) {}

HealthChecks::~HealthChecks() { Stop(); }

absl::Status HealthChecks::CheckFiles(const config::v1::Health& config) {
  return TlsTrust::Create(config.ca()).status();
}

storage::CommitSink& HealthChecks::sink() { return inside_->directory; }

void HealthChecks::Start() {
  inside_->thread = base::NamedThread("health", [&in = *inside_] { in.loop.run(); });
  inside_->Wake();
}

void HealthChecks::Stop() {
  inside_->loop.stop();
  inside_->thread.Join();
}

SchedulerCounts HealthChecks::counts() const {
  return {.checks = inside_->checks, .probes = inside_->probes, .waiting = inside_->waiting};
}

}  // namespace muster::health

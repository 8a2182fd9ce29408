// Writes elsewhere, beside very many watchers that they don't concern: two servers that hold the
// same, one of them watched, are given the same writes in turn.
#include <memory>
#include <utility>

#include "tests/bench/fixture.h"
#include "tests/bench/measure.h"
#include "tests/bench/watchers.h"
#include "tests/bench/workload.h"

namespace muster::bench {
namespace {

constexpr size_t kWatchers = 10'000;
constexpr size_t kConnections = 100;
constexpr double kWritesPerSecond = 5'000;
constexpr size_t kInFlight = 512;

// One instance in each service. The first half of the services is watched, the other written.
struct Quiet {
  std::shared_ptr<Server> server;
  std::shared_ptr<Updates> updates;
  std::unique_ptr<OpenStreams> watchers;  // none: nobody watches. Last: goes before its server
};

absl::StatusOr<std::shared_ptr<Quiet>> Open(size_t watched, bool watch) {
  auto server = WithClient(StartMusterd());
  if (!server.ok()) return server.status();
  const size_t services = 2 * watched;
  auto filled = Fill(*(*server)->client, 0, services, services);
  if (!filled.ok()) return filled.status();
  auto quiet = std::make_shared<Quiet>();
  quiet->server = *server;
  quiet->updates = std::make_shared<Updates>(watched, watched, services);
  if (!watch) return quiet;
  quiet->watchers = std::make_unique<OpenStreams>((*server)->process->address(), kConnections);
  const absl::Status opened = quiet->watchers->Open(
      {.streams = watched,
       .requests = [](size_t i) { return std::vector<std::string>{SubscribeTo(ServiceName(i))}; },
       .counts = &IsOfSubscription});
  if (!opened.ok()) return opened;
  return quiet;
}

absl::StatusOr<Readings> Round(Quiet& quiet, absl::Duration duration) {
  const uint64_t before = quiet.watchers == nullptr ? 0 : quiet.watchers->messages();
  UnaryLoad load{
      .method = kRegister, .in_flight = kInFlight, .request = {}, .per_second = kWritesPerSecond};
  load.request = [&quiet](uint64_t, grpc::ByteBuffer* request) {
    *request = ToBuffer(quiet.updates->Next());
    return true;
  };
  auto readings = Measure(*quiet.server->process, *quiet.server->client, load, duration);
  if (!readings.ok() || quiet.watchers == nullptr) return readings;
  if (absl::Status status = quiet.watchers->status(); !status.ok()) return status;
  (*readings)["told"] = static_cast<double>(quiet.watchers->messages() - before);
  return readings;
}

absl::StatusOr<Plan> PlanQuiet(const Options& options) {
  const size_t watched = options.Scaled(kWatchers);
  auto with = Open(watched, true);
  if (!with.ok()) return with.status();
  auto without = Open(watched, false);
  if (!without.ok()) return without.status();

  Plan plan;
  const auto writes = [&](std::string name, std::shared_ptr<Quiet> quiet) {
    plan.contestants.push_back(
        {std::move(name),
         [quiet = std::move(quiet), duration = options.round] { return Round(*quiet, duration); }});
  };
  writes("no watchers", *without);
  writes("beside watchers", *with);
  const Source alone_cpu{"no watchers", "cpu_us"};
  const Source alone_rate{"no watchers", "rate"};
  plan.comparisons = {{.metric = "server CPU a write elsewhere",
                       .unit = "us",
                       .value = {"beside watchers", "cpu_us"},
                       .yardstick = alone_cpu,
                       .goal = AtMost(1.05)},
                      {.metric = "events that watchers get in a round",
                       .unit = "",
                       .value = {"beside watchers", "told"},
                       .goal = AtMost(0),
                       .worst = true},
                      {.metric = "writes, of 5,000 that were due",
                       .unit = "1/s",
                       .value = {"beside watchers", "rate"},
                       .yardstick = alone_rate}};
  return plan;
}

const Registration registration(
    "watch_quiet", "5,000 writes/s elsewhere, beside 10,000 watchers of 10,000 services: none",
    &PlanQuiet);

}  // namespace
}  // namespace muster::bench

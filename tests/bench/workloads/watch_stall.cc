// OpenStreams that stopped reading, of services that change all the time: what they cost those who
// write, and the server's memory. Two servers that hold the same are given the same writes in turn,
// so that their stores are as full at the end of each round.
#include <algorithm>
#include <memory>
#include <utility>

#include "tests/bench/fixture.h"
#include "tests/bench/measure.h"
#include "tests/bench/watchers.h"
#include "tests/bench/workload.h"

namespace muster::bench {
namespace {

constexpr size_t kWatchers = 1'000;
constexpr size_t kConnections = 100;
constexpr size_t kServices = 100;
constexpr size_t kInstances = 10'000;
constexpr double kWritesPerSecond = 5'000;
constexpr size_t kInFlight = 512;
// The watched server takes a minute of writes at least, in rounds of their usual length or more.
// The one to warm up fills the windows of the streams, after 200 changes of 100 services each.
constexpr int kAllRounds = 50;
constexpr int kFirstRound = 10;
constexpr int kMostRounds = 200;
// So often memory is read: jemalloc has to give back before what was freed.
constexpr int kMemoryReadings = 5;
constexpr absl::Duration kDecay = absl::Seconds(12);

struct Written {
  std::shared_ptr<Server> server;
  std::shared_ptr<Updates> updates;
};

absl::StatusOr<Written> Start(size_t instances, size_t services) {
  auto server = WithClient(StartMusterd());
  if (!server.ok()) return server.status();
  auto filled = Fill(*(*server)->client, 0, instances, services);
  if (!filled.ok()) return filled.status();
  return Written{*server, std::make_shared<Updates>(0, instances, services)};
}

absl::StatusOr<Readings> Write(const Written& to, absl::Duration duration) {
  UnaryLoad load{
      .method = kRegister, .in_flight = kInFlight, .request = {}, .per_second = kWritesPerSecond};
  load.request = [&to](uint64_t, grpc::ByteBuffer* request) {
    *request = ToBuffer(to.updates->Next());
    return true;
  };
  return Measure(*to.server->process, *to.server->client, load, duration);
}

class StallRounds {
 public:
  StallRounds(Written alone, Written stalled, const Options& options)
      : alone_(std::move(alone)),
        stalled_(std::move(stalled)),
        rounds_(std::min(options.rounds, kMostRounds)),
        first_(kFirstRound * options.round),
        round_(std::max(options.round, kAllRounds * options.round / rounds_)),
        decay_(options.quick ? absl::ZeroDuration() : kDecay),
        watchers_(stalled_.server->process->address(), kConnections) {}

  absl::Status Open(size_t watchers, size_t services) {
    return watchers_.Open({.streams = watchers,
                           .requests =
                               [services](size_t i) {
                                 return std::vector<std::string>{
                                     SubscribeTo(ServiceName(i % services))};
                               },
                           .stalls = true});
  }

  // Both in one, since the memory of both is read when both have taken the same writes.
  absl::StatusOr<Readings> Round() {
    const absl::Duration duration = done_ == 0 ? first_ : round_;
    Readings out;
    for (const bool stalled : {done_ % 2 == 1, done_ % 2 == 0}) {
      const auto readings = Write(stalled ? stalled_ : alone_, duration);
      if (!readings.ok()) return readings.status();
      const std::string prefix = stalled ? "stalled " : "alone ";
      for (const char* name : {"p99_us", "cpu_us", "rate"}) out[prefix + name] = readings->at(name);
    }
    if (absl::Status status = watchers_.status(); !status.ok()) return status;
    if (done_++ % std::max(rounds_ / kMemoryReadings, 1) == 0) ReadMemory();
    out.insert(memory_.begin(), memory_.end());
    return out;
  }

 private:
  void ReadMemory() {
    test::Pause(decay_);
    const auto memory = [](const Written& of) {
      return static_cast<double>(MemoryOf(of.server->process->pid())) / (1 << 20);
    };
    memory_["stalled memory"] = memory(stalled_);
    memory_["alone memory"] = memory(alone_);
    memory_["more memory"] = memory_["stalled memory"] - memory_["alone memory"];
  }

  const Written alone_;
  const Written stalled_;
  const int rounds_;
  const absl::Duration first_;
  const absl::Duration round_;
  const absl::Duration decay_;
  int done_ = 0;
  Readings memory_;       // as last read
  OpenStreams watchers_;  // last: goes before its server
};

std::vector<Comparison> Comparisons() {
  const std::string name = "writes";
  return {{.metric = "p99 of a write beside stalled watchers",
           .unit = "us",
           .value = {name, "stalled p99_us"},
           .yardstick = Source{name, "alone p99_us"},
           .goal = AtMost(1.2)},
          {.metric = "memory more than without them, at worst",
           .unit = "MiB",
           .value = {name, "more memory"},
           .goal = AtMost(64),
           .worst = true},
          {.metric = "memory of the server",
           .unit = "MiB",
           .value = {name, "stalled memory"},
           .yardstick = Source{name, "alone memory"}},
          {.metric = "server CPU a write",
           .unit = "us",
           .value = {name, "stalled cpu_us"},
           .yardstick = Source{name, "alone cpu_us"}},
          {.metric = "writes, of 5,000 that were due",
           .unit = "1/s",
           .value = {name, "stalled rate"},
           .yardstick = Source{name, "alone rate"}}};
}

absl::StatusOr<Plan> PlanStall(const Options& options) {
  const size_t instances = options.Scaled(kInstances);
  const size_t services = options.Scaled(kServices);
  auto alone = Start(instances, services);
  if (!alone.ok()) return alone.status();
  auto stalled = Start(instances, services);
  if (!stalled.ok()) return stalled.status();
  auto rounds = std::make_shared<StallRounds>(*alone, *stalled, options);
  if (absl::Status status = rounds->Open(options.Scaled(kWatchers), services); !status.ok()) {
    return status;
  }
  Plan plan;
  plan.most_rounds = kMostRounds;
  plan.contestants.push_back({"writes", [rounds] { return rounds->Round(); }});
  plan.comparisons = Comparisons();
  return plan;
}

const Registration registration(
    "watch_stall", "5,000 writes/s to services of 1,000 watchers that don't read: no watchers",
    &PlanStall);

}  // namespace
}  // namespace muster::bench

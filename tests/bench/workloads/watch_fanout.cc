// One change to very many watchers of one service, against bare streams that are sent its bytes.
#include <algorithm>
#include <memory>
#include <utility>

#include "tests/bench/fixture.h"
#include "tests/bench/measure.h"
#include "tests/bench/watchers.h"
#include "tests/bench/workload.h"
#include "tests/bench/yardstick/yardstick.h"

namespace muster::bench {
namespace {

constexpr size_t kWatchers = 10'000;
constexpr size_t kConnections = 100;

// Makes the server send one message to each stream.
using Trigger = std::function<absl::Status()>;

// A server, and streams that all wait for the same.
struct Fanout {
  std::shared_ptr<Server> server;
  size_t streams = 0;
  Trigger trigger;
  std::unique_ptr<OpenStreams> watchers;  // last: goes before its server
};

absl::Status Change(Fanout& fanout, absl::Duration* until_last) {
  const absl::Time begin = test::Now();
  fanout.watchers->Expect(1);
  if (absl::Status status = fanout.trigger(); !status.ok()) return status;
  const auto last = fanout.watchers->Await();
  if (last.ok()) *until_last += *last - begin;
  return last.status();
}

// Changes, one after the other, each when all have the one before and the server is at rest.
absl::StatusOr<Readings> Round(Fanout& fanout, absl::Duration duration) {
  const ServerProcess& process = *fanout.server->process;
  const absl::Time end = test::Now() + duration;
  absl::Duration until_last;
  absl::Duration cpu;
  int changes = 0;
  do {
    const Meter meter(process);
    if (absl::Status status = Change(fanout, &until_last); !status.ok()) return status;
    AwaitRest(process);
    cpu += meter.CpuTime();
    ++changes;
  } while (test::Now() < end);
  const double messages = static_cast<double>(fanout.streams) * changes;
  return Readings{{"last_ms", absl::ToDoubleMilliseconds(until_last) / changes},
                  {"cpu_us", absl::ToDoubleMicroseconds(cpu) / messages}};
}

absl::StatusOr<std::shared_ptr<Fanout>> OpenFanout(std::shared_ptr<Server> server,
                                                   const std::string& method,
                                                   const std::string& request, size_t streams) {
  auto fanout = std::make_shared<Fanout>();
  fanout->server = std::move(server);
  fanout->streams = streams;
  fanout->watchers =
      std::make_unique<OpenStreams>(fanout->server->process->address(), kConnections);
  const absl::Status opened =
      fanout->watchers->Open({.method = method, .streams = streams, .requests = [&request](size_t) {
                                return std::vector<std::string>{request};
                              }});
  if (!opened.ok()) return opened;
  return fanout;
}

absl::StatusOr<std::shared_ptr<Fanout>> OpenMuster(size_t streams) {
  auto server = WithClient(StartMusterd());
  if (!server.ok()) return server.status();
  if (auto filled = Fill(*(*server)->client, 0, 1, 1); !filled.ok()) return filled.status();
  auto fanout = OpenFanout(*server, kWatch, SubscribeTo(ServiceName(0)), streams);
  if (!fanout.ok()) return fanout;
  auto updates = std::make_shared<Updates>(0, 1, 1);
  (*fanout)->trigger = [client = (*server)->client.get(), updates] {
    return CallOnce(*client, kRegister, updates->Next()).status();
  };
  return fanout;
}

// `bytes`: what it sends to each.
absl::StatusOr<std::shared_ptr<Fanout>> OpenBare(const std::string& bytes, size_t streams) {
  auto server = WithClient(StartYardstick());
  if (!server.ok()) return server.status();
  auto fanout = OpenFanout(*server, kYardstickFollow, SubscribeTo(ServiceName(0)), streams);
  if (!fanout.ok()) return fanout;
  (*fanout)->trigger = [client = (*server)->client.get(), bytes] {
    return PublishToAll(*client, bytes);
  };
  return fanout;
}

absl::StatusOr<Plan> PlanFanout(const Options& options) {
  const size_t streams = options.Scaled(kWatchers);
  auto muster = OpenMuster(streams);
  if (!muster.ok()) return muster.status();
  // What muster sends, so that the other sends the same.
  absl::Duration ignored;
  if (absl::Status status = Change(**muster, &ignored); !status.ok()) return status;
  auto bare = OpenBare((*muster)->watchers->sample(), streams);
  if (!bare.ok()) return bare.status();

  Plan plan;
  const auto fans_out = [&](std::string name, std::shared_ptr<Fanout> fanout) {
    plan.contestants.push_back(
        {std::move(name), [fanout = std::move(fanout), duration = options.round] {
           return Round(*fanout, duration);
         }});
  };
  fans_out("bare streams", *bare);
  fans_out("watch", *muster);
  const Source bare_last{"bare streams", "last_ms"};
  const Source bare_cpu{"bare streams", "cpu_us"};
  plan.comparisons = {{.metric = "a change, until the last of 10,000 has it",
                       .unit = "ms",
                       .value = {"watch", "last_ms"},
                       .yardstick = bare_last,
                       .goal = AtMost(1.3)},
                      {.metric = "server CPU a message",
                       .unit = "us",
                       .value = {"watch", "cpu_us"},
                       .yardstick = bare_cpu,
                       .goal = AtMost(1.15)}};
  return plan;
}

const Registration registration(
    "watch_fanout", "10,000 watchers of one service on 100 connections, one change: bare streams",
    &PlanFanout);

}  // namespace
}  // namespace muster::bench

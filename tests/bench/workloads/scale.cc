// A million instances: memory after their registrations and after a restart, how long the restart
// takes, and how soon heartbeats are answered after it.
#include <signal.h>

#include <memory>
#include <utility>

#include "muster/v1/registry.pb.h"
#include "tests/bench/fixture.h"
#include "tests/bench/measure.h"
#include "tests/bench/workload.h"

namespace muster::bench {
namespace {

constexpr size_t kInstances = 1'000'000;
constexpr size_t kServices = 100'000;
constexpr size_t kHeartbeats = 10'000;
constexpr size_t kInFlight = 64;
constexpr int kMostRounds = 3;
// Shares no factor with the number of instances: its multiples visit each once.
constexpr size_t kStride = 48'271;

struct Sizes {
  size_t instances;
  size_t heartbeats;
  absl::Duration interval;  // to look whether the server has come to rest
};

// The resident set: what the machine gives for the process, its program and libraries included.
double ResidentEach(const ServerProcess& server, const Sizes& sizes) {
  return static_cast<double>(test::UsageOf(server.pid()).resident_bytes) /
         static_cast<double>(sizes.instances);
}

double AnonymousEach(const ServerProcess& server, const Sizes& sizes) {
  return static_cast<double>(test::UsageOf(server.pid()).anonymous_bytes) /
         static_cast<double>(sizes.instances);
}

// One heartbeat a call, each of another lease.
UnaryLoad Heartbeats(const std::vector<uint64_t>& handles, size_t count) {
  UnaryLoad load{.method = kHeartbeat, .in_flight = kInFlight};
  load.request = [&handles, count](uint64_t number, grpc::ByteBuffer* buffer) {
    v1::HeartbeatRequest request;
    request.add_lease_handles(handles[number * kStride % handles.size()]);
    *buffer = ToBuffer(request.SerializeAsString());
    return number < count;
  };
  load.reply = [](uint64_t, const grpc::ByteBuffer& reply) {
    v1::HeartbeatResponse response;
    const bool renewed = response.ParseFromString(ToString(reply)) &&
                         response.outcomes_size() == 1 &&
                         response.outcomes(0) == v1::HeartbeatResponse::RENEWED;
    return renewed ? absl::OkStatus() : absl::InternalError("a lease was not renewed");
  };
  return load;
}

// Starts musterd on its data again, and asks it at once.
absl::StatusOr<std::shared_ptr<Server>> Restart(ServerProcess& server, const Sizes& sizes,
                                                const std::vector<uint64_t>& handles,
                                                Readings& readings) {
  server.process().Signal(SIGTERM);
  if (server.process().Wait(absl::Minutes(1)) != 0) {
    return absl::InternalError("musterd did not stop");
  }
  const absl::Time begin = test::Now();
  auto process = StartMusterd({}, server.TakeDir());
  const absl::Time ready = test::Now();
  auto again = WithClient(std::move(process));
  if (!again.ok()) return again.status();
  const auto first = (*again)->client->Call(Heartbeats(handles, 1), absl::Seconds(30));
  if (!first.ok()) return first.status();
  readings["first_heartbeat_ms"] = absl::ToDoubleMilliseconds(test::Now() - ready);
  const auto more = (*again)->client->Call(Heartbeats(handles, sizes.heartbeats), absl::Minutes(1));
  if (!more.ok()) return more.status();
  readings["heartbeat_p99_ms"] = absl::ToDoubleMilliseconds(more->latency.Quantile(0.99));
  readings["restart_s"] = absl::ToDoubleSeconds(ready - begin);
  return again;
}

absl::StatusOr<Readings> Round(const Sizes& sizes) {
  auto server = WithClient(StartMusterd());
  if (!server.ok()) return server.status();
  const auto handles = Fill(*(*server)->client, 0, sizes.instances, kServices);
  if (!handles.ok()) return handles.status();
  ServerProcess& filled = *(*server)->process;
  if (absl::Status status = AwaitQuiet(filled, sizes.interval); !status.ok()) return status;
  absl::Status complete = ExpectInstances(*(*server)->client, sizes.instances);
  if (!complete.ok()) return complete;
  Readings readings{{"registered_bytes", ResidentEach(filled, sizes)},
                    {"registered_anonymous_bytes", AnonymousEach(filled, sizes)}};
  const auto again = Restart(filled, sizes, *handles, readings);
  if (!again.ok()) return again.status();
  const ServerProcess& loaded = *(*again)->process;
  if (absl::Status status = AwaitQuiet(loaded, sizes.interval); !status.ok()) return status;
  complete = ExpectInstances(*(*again)->client, sizes.instances);
  if (!complete.ok()) return complete;
  readings["restarted_bytes"] = ResidentEach(loaded, sizes);
  readings["restarted_anonymous_bytes"] = AnonymousEach(loaded, sizes);
  readings["disk_bytes"] =
      static_cast<double>(BytesIn(loaded.data_dir())) / static_cast<double>(sizes.instances);
  return readings;
}

std::vector<Comparison> Comparisons() {
  const auto of = [](std::string metric, std::string unit, std::string reading,
                     std::optional<Goal> goal) {
    return Comparison{.metric = std::move(metric),
                      .unit = std::move(unit),
                      .value = {"muster", std::move(reading)},
                      .goal = goal};
  };
  return {
      of("memory an instance, registered", "B", "registered_bytes", AtMost(1024)),
      of("of it anonymous", "B", "registered_anonymous_bytes", std::nullopt),
      of("memory an instance, restarted", "B", "restarted_bytes", AtMost(1024)),
      of("of it anonymous", "B", "restarted_anonymous_bytes", std::nullopt),
      of("disk an instance", "B", "disk_bytes", std::nullopt),
      of("restart until ready", "s", "restart_s", AtMost(6)),
      of("first heartbeat after ready, with connecting", "ms", "first_heartbeat_ms", AtMost(100)),
      of("10,000 heartbeats after it, 99th percentile", "ms", "heartbeat_p99_ms", AtMost(100))};
}

absl::StatusOr<Plan> PlanScale(const Options& options) {
  const Sizes sizes{.instances = options.Scaled(kInstances),
                    .heartbeats = options.Scaled(kHeartbeats),
                    .interval = options.round};
  Plan plan;
  plan.most_rounds = kMostRounds;
  plan.warm_up = false;
  plan.contestants.push_back({"muster", [sizes] { return Round(sizes); }});
  plan.comparisons = Comparisons();
  return plan;
}

const Registration registration(
    "scale", "1,000,000 instances in 100,000 services: memory, restart, first heartbeats",
    &PlanScale);

}  // namespace
}  // namespace muster::bench

// Durable registrations of new instances against a bare handler with group commit, and etcd's Put
// of the same bytes.
#include <atomic>
#include <memory>
#include <utility>

#include "proto/etcd_kv.pb.h"
#include "tests/bench/fixture.h"
#include "tests/bench/measure.h"
#include "tests/bench/workload.h"
#include "tests/bench/yardstick/yardstick.h"

namespace muster::bench {
namespace {

constexpr size_t kInFlight = 512;
constexpr size_t kServices = 100'000;
// musterd takes 2,000,000 instances.
constexpr absl::Duration kMostTime = absl::Seconds(20);

// A new instance with each call, over all rounds: `first`, first + 1…
MakeRequest NewInstances(const std::string& about_instance_0, size_t first, size_t services) {
  auto bytes = std::make_shared<const NumberedBytes>(about_instance_0, services);
  auto next = std::make_shared<std::atomic<size_t>>(first);
  return [bytes = std::move(bytes), next = std::move(next)](uint64_t, grpc::ByteBuffer* request) {
    *request = ToBuffer(bytes->For(next->fetch_add(1, std::memory_order_relaxed)));
    return true;
  };
}

std::string PutOfInstance0() {
  const v1::Instance instance = MakeInstance(0, kServices);
  etcd::PutRequest put;
  put.set_key(instance.service() + "/" + instance.id());
  put.set_value(instance.SerializeAsString());
  return put.SerializeAsString();
}

std::vector<Comparison> Comparisons() {
  const auto versus = [](std::string metric, std::string unit, const std::string& reading,
                         const std::string& yardstick, std::optional<Goal> goal) {
    return Comparison{.metric = std::move(metric),
                      .unit = std::move(unit),
                      .value = {"register", reading},
                      .yardstick = Source{yardstick, reading},
                      .goal = goal};
  };
  return {versus("durable registrations", "1/s", "rate", "bare handler", AtLeast(0.85)),
          versus("server CPU a registration", "us", "cpu_us", "bare handler", AtMost(1.3)),
          versus("durable registrations", "1/s", "rate", "etcd put", AtLeast(1.25)),
          versus("server CPU a registration", "us", "cpu_us", "etcd put", std::nullopt),
          versus("latency, 99th percentile", "us", "p99_us", "bare handler", std::nullopt),
          {.metric = "server CPU, first instance of a service",
           .unit = "us",
           .value = {"new services", "cpu_us"},
           .yardstick = Source{"bare handler", "cpu_us"}}};
}

absl::StatusOr<Plan> PlanRegister(const Options& options) {
  auto muster = WithClient(StartMusterd());
  if (!muster.ok()) return muster.status();
  // Services are known: each has an instance.
  const size_t services = options.Scaled(kServices);
  if (auto filled = Fill(*(*muster)->client, 0, services, services); !filled.ok()) {
    return filled.status();
  }
  // What new services leave to be done in the background is not for the others to do.
  auto other = WithClient(StartMusterd());
  if (!other.ok()) return other.status();
  auto yardstick = WithClient(StartYardstick());
  if (!yardstick.ok()) return yardstick.status();
  auto etcd = WithClient(StartEtcd());
  if (!etcd.ok()) return etcd.status();

  Plan plan;
  plan.most_rounds = options.RoundsIn(kMostTime);
  const std::string registration = MakeRegister(0, kServices).SerializeAsString();
  const auto calls = [&](std::string name, std::shared_ptr<Server> server, std::string method,
                         const std::string& about_instance_0, size_t first, size_t services) {
    plan.contestants.push_back(Calling(std::move(name), std::move(server),
                                       {.method = std::move(method),
                                        .in_flight = kInFlight,
                                        .request = NewInstances(about_instance_0, first, services)},
                                       options.round));
  };
  calls("bare handler", *yardstick, kYardstickRegister, registration, services, services);
  calls("register", *muster, kRegister, registration, services, services);
  calls("new services", *other, kRegister, registration, 0, kMaxServices);
  calls("etcd put", *etcd, kEtcdPut, PutOfInstance0(), services, services);
  plan.comparisons = Comparisons();
  return plan;
}

const Registration registration(
    "register", "512 durable registrations in flight: bare handler with group commit, etcd",
    &PlanRegister);

}  // namespace
}  // namespace muster::bench

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
// Of rounds on the same servers. musterd takes 2,000,000 instances, and a registration copies those
// of its service.
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

// As Fill does it with musterd.
absl::Status FillYardstick(Client& client, const std::string& about_instance_0, size_t instances) {
  const MakeRequest make = NewInstances(about_instance_0, 0, instances);
  const UnaryLoad load{.method = kYardstickRegister,
                       .in_flight = kInFlight,
                       .request = [make, instances](uint64_t number, grpc::ByteBuffer* request) {
                         return number < instances && make(number, request);
                       }};
  const auto result = client.Call(load, absl::Minutes(2));
  if (!result.ok()) return result.status();
  if (result->operations == instances) return absl::OkStatus();
  return absl::DeadlineExceededError("the yardstick wasn't filled in time");
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

absl::StatusOr<std::vector<Contestant>> StartAll(const Options& options) {
  const std::string registration = MakeRegister(0, kServices).SerializeAsString();
  const size_t services = options.Scaled(kServices);
  // Services are known: each has an instance.
  auto muster = WithClient(StartMusterd());
  if (!muster.ok()) return muster.status();
  if (auto filled = Fill(*(*muster)->client, 0, services, services); !filled.ok()) {
    return filled.status();
  }
  // What new services leave to be done in the background is not for the others to do.
  auto other = WithClient(StartMusterd());
  if (!other.ok()) return other.status();
  auto yardstick = WithClient(StartYardstick());
  if (!yardstick.ok()) return yardstick.status();
  if (absl::Status s = FillYardstick(*(*yardstick)->client, registration, services); !s.ok()) {
    return s;
  }
  auto etcd = WithClient(StartEtcd());
  if (!etcd.ok()) return etcd.status();

  std::vector<Contestant> out;
  const auto calls = [&](std::string name, std::shared_ptr<Server> server, std::string method,
                         const std::string& about_instance_0, size_t first, size_t services) {
    out.push_back(Calling(std::move(name), std::move(server),
                          {.method = std::move(method),
                           .in_flight = kInFlight,
                           .request = NewInstances(about_instance_0, first, services)},
                          options.round));
  };
  calls("bare handler", *yardstick, kYardstickRegister, registration, services, services);
  calls("register", *muster, kRegister, registration, services, services);
  calls("new services", *other, kRegister, registration, 0, kMaxServices);
  calls("etcd put", *etcd, kEtcdPut, PutOfInstance0(), services, services);
  return out;
}

absl::StatusOr<Plan> PlanRegister(const Options& options) {
  auto contestants =
      Renewed::Make([options] { return StartAll(options); }, options.RoundsIn(kMostTime));
  if (!contestants.ok()) return contestants.status();
  Plan plan;
  plan.contestants = *std::move(contestants);
  plan.warm_up = false;  // has been done
  plan.comparisons = Comparisons();
  return plan;
}

const Registration registration(
    "register", "512 durable registrations in flight: bare handler with group commit, etcd",
    &PlanRegister);

}  // namespace
}  // namespace muster::bench

// Heartbeats on KeepAlive streams over very many leases, chosen at random.
#include <memory>
#include <utility>

#include "base/rng.h"
#include "muster/v1/registry.pb.h"
#include "tests/bench/fixture.h"
#include "tests/bench/measure.h"
#include "tests/bench/workload.h"
#include "tests/bench/yardstick/yardstick.h"

namespace muster::bench {
namespace {

constexpr size_t kStreams = 64;
constexpr size_t kLeases = 1'000'000;
constexpr size_t kServices = 100'000;
// One reply of so many is looked at.
constexpr uint64_t kLookAt = 64;

using Messages = std::shared_ptr<const std::vector<std::string>>;

// Encoded messages of `leases` random leases each; enough of them to name each lease about once.
Messages ByKey(const std::vector<uint64_t>& handles, size_t leases) {
  base::SeededRng rng(1);
  auto out = std::make_shared<std::vector<std::string>>();
  for (size_t i = 0; i < handles.size() / leases; ++i) {
    v1::HeartbeatRequest request;
    for (size_t j = 0; j < leases; ++j) {
      const size_t number = rng.Uniform(handles.size());
      *request.add_leases()->mutable_key() = KeyOf(number, kServices);
      request.mutable_leases()->rbegin()->set_incarnation(handles[number]);
    }
    out->push_back(request.SerializeAsString());
  }
  return out;
}

Messages ByHandle(const std::vector<uint64_t>& handles, size_t leases) {
  base::SeededRng rng(2);
  auto out = std::make_shared<std::vector<std::string>>();
  for (size_t i = 0; i < handles.size() / leases; ++i) {
    v1::HeartbeatRequest request;
    for (size_t j = 0; j < leases; ++j) {
      request.add_lease_handles(handles[rng.Uniform(handles.size())]);
    }
    out->push_back(request.SerializeAsString());
  }
  return out;
}

MakeRequest InTurn(Messages messages) {
  return [messages = std::move(messages)](uint64_t number, grpc::ByteBuffer* request) {
    *request = ToBuffer((*messages)[number % messages->size()]);
    return true;
  };
}

// Each lease was renewed.
TakeReply AllRenewed(int leases) {
  return [leases](uint64_t number, const grpc::ByteBuffer& reply) {
    if (number % kLookAt != 0) return absl::OkStatus();
    v1::HeartbeatResponse response;
    bool renewed = response.ParseFromString(ToString(reply)) && response.outcomes_size() == leases;
    for (const int outcome : response.outcomes()) {
      renewed = renewed && outcome == v1::HeartbeatResponse::RENEWED;
    }
    return renewed ? absl::OkStatus() : absl::InternalError("a lease was not renewed");
  };
}

std::vector<Comparison> Comparisons() {
  std::vector<Comparison> out = {{.metric = "renewals a server-CPU-second, by key, 10 a message",
                                  .unit = "1/s",
                                  .value = {"10 by key", "per_cpu"},
                                  .goal = AtLeast(300'000)},
                                 {.metric = "renewals a server-CPU-second, by handle, 100",
                                  .unit = "1/s",
                                  .value = {"100 by handle", "per_cpu"},
                                  .goal = AtLeast(2'000'000)},
                                 {.metric = "messages of 1 key",
                                  .unit = "1/s",
                                  .value = {"1 by key", "rate"},
                                  .yardstick = Source{"bare echo", "rate"},
                                  .goal = AtLeast(0.8)},
                                 {.metric = "server CPU a message of 1 key",
                                  .unit = "us",
                                  .value = {"1 by key", "cpu_us"},
                                  .yardstick = Source{"bare echo", "cpu_us"}}};
  for (const char* contestant : {"10 by key", "100 by handle", "1 by key"}) {
    out.push_back({.metric = std::string("written in a round, ") + contestant,
                   .unit = "B",
                   .value = {contestant, "written"},
                   .goal = AtMost(0),
                   .worst = true});
  }
  return out;
}

absl::StatusOr<Plan> PlanHeartbeat(const Options& options) {
  auto muster = WithClient(StartMusterd());
  if (!muster.ok()) return muster.status();
  const auto handles = Fill(*(*muster)->client, 0, options.Scaled(kLeases), kServices);
  if (!handles.ok()) return handles.status();
  auto yardstick = WithClient(StartYardstick());
  if (!yardstick.ok()) return yardstick.status();
  if (absl::Status status = AwaitQuiet(*(*muster)->process); !status.ok()) return status;

  Plan plan;
  const auto beats = [&](std::string name, const Messages& messages, int leases) {
    plan.contestants.push_back(Conversing(std::move(name), *muster,
                                          {.method = kKeepAlive,
                                           .streams = kStreams,
                                           .request = InTurn(messages),
                                           .reply = AllRenewed(leases)},
                                          options.round, leases));
  };
  const Messages single = ByKey(*handles, 1);
  plan.contestants.push_back(Conversing(
      "bare echo", *yardstick,
      {.method = kYardstickEcho, .streams = kStreams, .request = InTurn(single)}, options.round));
  beats("1 by key", single, 1);
  beats("10 by key", ByKey(*handles, 10), 10);
  beats("100 by handle", ByHandle(*handles, 100), 100);
  plan.comparisons = Comparisons();
  return plan;
}

const Registration registration(
    "heartbeat", "64 KeepAlive streams over 1,000,000 random leases: bare echo, CPU, disk",
    &PlanHeartbeat);

}  // namespace
}  // namespace muster::bench

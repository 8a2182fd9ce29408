// One weight changed in a very large service: what each watcher is sent, and when the last has it.
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "muster/v1/discovery.pb.h"
#include "tests/bench/fixture.h"
#include "tests/bench/measure.h"
#include "tests/bench/watchers.h"
#include "tests/bench/workload.h"

namespace muster::bench {
namespace {

constexpr size_t kEndpoints = 20'000;
constexpr size_t kWatchers = 100;
constexpr size_t kConnections = 10;
// Endpoints in one message of the snapshot: watch.snapshot_part.
constexpr size_t kPart = 500;
// Around each message: gRPC's head of 5 bytes and HTTP/2's of 9.
constexpr double kFraming = 14;

class DeltaRounds {
 public:
  DeltaRounds(std::shared_ptr<Server> server, size_t streams)
      : server_(std::move(server)),
        streams_(streams),
        watchers_(server_->process->address(), kConnections) {}

  absl::Status Open(size_t endpoints) {
    return watchers_.Open(
        {.streams = streams_,
         .requests = [](size_t) { return std::vector<std::string>{SubscribeTo(ServiceName(0))}; },
         .messages = (endpoints + kPart - 1) / kPart,
         .counts = &IsOfSubscription});
  }

  // Changes one after the other.
  absl::StatusOr<Readings> Round(absl::Duration duration) {
    const absl::Time end = test::Now() + duration;
    absl::Duration until_last;
    double most = 0;
    int changes = 0;
    do {
      const uint64_t before = watchers_.bytes();
      const absl::Time begin = test::Now();
      watchers_.Expect(1);
      const auto reply = CallOnce(*server_->client, kRegister, NextWeight());
      if (!reply.ok()) return reply.status();
      const auto last = watchers_.Await();
      if (!last.ok()) return last.status();
      until_last += *last - begin;
      const auto endpoint = EndpointBytes();
      if (!endpoint.ok()) return endpoint.status();
      const double sent =
          static_cast<double>(watchers_.bytes() - before) / static_cast<double>(streams_);
      most = std::max(most, sent + kFraming - *endpoint);
      ++changes;
    } while (test::Now() < end);
    return Readings{{"above", most}, {"last_ms", absl::ToDoubleMilliseconds(until_last) / changes}};
  }

 private:
  std::string NextWeight() {
    v1::RegisterRequest request = MakeRegister(0, 1);
    request.mutable_instance()->mutable_weight()->set_passing(++weight_ % 100 + 1);
    return request.SerializeAsString();
  }
  // Of the endpoint that the latest change brought.
  absl::StatusOr<double> EndpointBytes() const {
    v1::WatchResponse event;
    if (!event.ParseFromString(watchers_.sample()) || event.change().upserted_size() != 1 ||
        event.change().upserted(0).weight().passing() != weight_ % 100 + 1) {
      return absl::InternalError(
          absl::StrCat("not the one change: ", event.ShortDebugString().substr(0, 200)));
    }
    return static_cast<double>(event.change().upserted(0).ByteSizeLong());
  }

  const std::shared_ptr<Server> server_;
  const size_t streams_;
  uint32_t weight_ = 0;
  OpenStreams watchers_;  // last: goes before its server
};

absl::StatusOr<Plan> PlanDelta(const Options& options) {
  const size_t endpoints = options.Scaled(kEndpoints);
  auto muster = WithClient(StartMusterd());
  if (!muster.ok()) return muster.status();
  if (auto filled = Fill(*(*muster)->client, 0, endpoints, 1); !filled.ok()) {
    return filled.status();
  }
  auto rounds = std::make_shared<DeltaRounds>(*muster, options.Scaled(kWatchers));
  if (absl::Status status = rounds->Open(endpoints); !status.ok()) return status;
  Plan plan;
  plan.contestants.push_back(
      {"delta", [rounds, duration = options.round] { return rounds->Round(duration); }});
  plan.comparisons = {{.metric = "bytes to a watcher above the endpoint",
                       .unit = "B",
                       .value = {"delta", "above"},
                       .goal = AtMost(64),
                       .worst = true},
                      {.metric = "a change, until the last of 100 has it",
                       .unit = "ms",
                       .value = {"delta", "last_ms"}}};
  return plan;
}

const Registration registration("delta",
                                "one weight changed in a service of 20,000 endpoints, 100 watchers",
                                &PlanDelta);

}  // namespace
}  // namespace muster::bench

// Memory of idle watchers, against bare streams, and of more subscriptions on the same streams.
// Each round has servers of its own: memory that was freed is used again, so that a second look at
// the same server would see nothing.
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
constexpr size_t kManyStreams = 100;
constexpr size_t kSubscriptions = 1'000;  // on each of those
constexpr int kMostRounds = 3;
// After so long jemalloc has given back what was freed.
constexpr absl::Duration kDecay = absl::Seconds(12);

double BytesOf(const Server& server, absl::Duration decay) {
  test::Pause(decay);
  return static_cast<double>(MemoryOf(server.process->pid()));
}

// `server`: new, and its one service registered if it has any.
absl::StatusOr<Readings> MeasureIdle(const absl::StatusOr<std::shared_ptr<Server>>& server,
                                     const std::string& method, size_t streams,
                                     absl::Duration decay) {
  if (!server.ok()) return server.status();
  OpenStreams watchers((*server)->process->address(), kConnections);
  const double before = BytesOf(**server, decay);
  const absl::Status opened =
      watchers.Open({.method = method, .streams = streams, .requests = [](size_t) {
                       return std::vector<std::string>{SubscribeTo(ServiceName(0))};
                     }});
  if (!opened.ok()) return opened;
  const double more = BytesOf(**server, decay) - before;
  return Readings{{"stream_kib", more / 1024 / static_cast<double>(streams)}};
}

absl::StatusOr<std::shared_ptr<Server>> MusterOfOneService() {
  auto server = WithClient(StartMusterd());
  if (!server.ok()) return server;
  if (auto filled = Fill(*(*server)->client, 0, 1, 1); !filled.ok()) return filled.status();
  return server;
}

// All the subscriptions are of services of their own.
class MoreSubscriptions {
 public:
  MoreSubscriptions(std::unique_ptr<test::TempDir> data, size_t streams, absl::Duration decay)
      : data_(std::move(data)), streams_(streams), decay_(decay) {}

  absl::StatusOr<Readings> Round() {
    auto server = WithClient(StartMusterd({}, std::move(data_)));
    if (!server.ok()) return server.status();
    auto readings = Measure(**server);
    (*server)->process->process().Kill();
    data_ = (*server)->process->TakeDir();
    return readings;
  }

 private:
  absl::StatusOr<Readings> Measure(const Server& server) {
    OpenStreams watchers(server.process->address(), kConnections);
    const auto subscribe = [](size_t stream, size_t first, size_t end) {
      std::vector<std::string> out;
      for (size_t i = first; i < end; ++i) {
        out.push_back(SubscribeTo(ServiceName(stream * kSubscriptions + i), i + 1));
      }
      return out;
    };
    const absl::Status opened = watchers.Open(
        {.streams = streams_, .requests = [&](size_t i) { return subscribe(i, 0, 1); }});
    if (!opened.ok()) return opened;
    const double before = BytesOf(server, decay_);
    const absl::Status sent = watchers.Send(
        [&](size_t i) { return subscribe(i, 1, kSubscriptions); }, kSubscriptions - 1);
    if (!sent.ok()) return sent;
    const double more = BytesOf(server, decay_) - before;
    return Readings{
        {"subscription_bytes", more / static_cast<double>(streams_ * (kSubscriptions - 1))}};
  }

  std::unique_ptr<test::TempDir> data_;
  const size_t streams_;
  const absl::Duration decay_;
};

// One instance in each service.
absl::StatusOr<std::unique_ptr<test::TempDir>> FilledData(size_t services) {
  auto server = WithClient(StartMusterd());
  if (!server.ok()) return server.status();
  auto filled = Fill(*(*server)->client, 0, services, services);
  if (!filled.ok()) return filled.status();
  (*server)->process->process().Kill();
  return (*server)->process->TakeDir();
}

absl::StatusOr<Plan> PlanMemory(const Options& options) {
  const size_t streams = options.Scaled(kWatchers);
  const absl::Duration decay = options.quick ? absl::ZeroDuration() : kDecay;
  const size_t many = options.Scaled(kManyStreams);
  auto data = FilledData(many * kSubscriptions);
  if (!data.ok()) return data.status();
  auto subscriptions = std::make_shared<MoreSubscriptions>(*std::move(data), many, decay);

  Plan plan;
  plan.most_rounds = kMostRounds;
  plan.contestants.push_back({"bare stream", [streams, decay] {
                                return MeasureIdle(WithClient(StartYardstick()), kYardstickFollow,
                                                   streams, decay);
                              }});
  plan.contestants.push_back({"idle watcher", [streams, decay] {
                                return MeasureIdle(MusterOfOneService(), kWatch, streams, decay);
                              }});
  plan.contestants.push_back({"more", [subscriptions] { return subscriptions->Round(); }});
  const Source bare{"bare stream", "stream_kib"};
  plan.comparisons = {{.metric = "memory of an idle watcher",
                       .unit = "KiB",
                       .value = {"idle watcher", "stream_kib"},
                       .yardstick = bare,
                       .goal = AtMost(1.25)},
                      {.metric = "memory of one more subscription",
                       .unit = "B",
                       .value = {"more", "subscription_bytes"},
                       .goal = AtMost(512)}};
  return plan;
}

const Registration registration(
    "watch_memory", "memory of 10,000 idle watchers, of 100 streams of 1,000 subscriptions",
    &PlanMemory);

}  // namespace
}  // namespace muster::bench

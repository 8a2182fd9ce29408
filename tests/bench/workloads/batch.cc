// Durable registrations by BatchRegister, 1,000 a call.
#include <memory>

#include "tests/bench/measure.h"
#include "tests/bench/workload.h"

namespace muster::bench {
namespace {

constexpr size_t kServices = 100'000;
// Each round, the first included, registers so many new instances; musterd takes 2,000,000.
constexpr size_t kInstances = 100'000;
constexpr int kMostRounds = 18;

class BatchRounds {
 public:
  BatchRounds(std::shared_ptr<Server> server, size_t instances)
      : server_(std::move(server)), instances_(instances) {}

  absl::StatusOr<Readings> Round() {
    const Meter meter(*server_->process);
    const absl::Time begin = test::Now();
    const auto handles = Fill(*server_->client, next_, instances_, kServices);
    const double seconds = absl::ToDoubleSeconds(test::Now() - begin);
    if (!handles.ok()) return handles.status();
    next_ += instances_;
    const auto count = static_cast<double>(instances_);
    return Readings{{"rate", count / seconds},
                    {"cpu_us", absl::ToDoubleMicroseconds(meter.CpuTime()) / count}};
  }

 private:
  const std::shared_ptr<Server> server_;
  const size_t instances_;
  size_t next_ = 0;
};

absl::StatusOr<Plan> PlanBatch(const Options& options) {
  const auto start = [options]() -> absl::StatusOr<std::vector<Contestant>> {
    auto muster = WithClient(StartMusterd());
    if (!muster.ok()) return muster.status();
    auto rounds = std::make_shared<BatchRounds>(*muster, options.Scaled(kInstances));
    return std::vector<Contestant>{{"batch register", [rounds] { return rounds->Round(); }}};
  };
  auto contestants = Renewed::Make(start, kMostRounds);
  if (!contestants.ok()) return contestants.status();
  Plan plan;
  plan.contestants = *std::move(contestants);
  plan.warm_up = false;  // has been done
  plan.comparisons = {
      {.metric = "instances by BatchRegister of 1,000",
       .unit = "1/s",
       .value = {"batch register", "rate"},
       .goal = AtLeast(100'000)},
      {.metric = "server CPU an instance", .unit = "us", .value = {"batch register", "cpu_us"}}};
  return plan;
}

const Registration registration("batch", "BatchRegister of 1,000 instances, 4 calls in flight",
                                &PlanBatch);

}  // namespace
}  // namespace muster::bench

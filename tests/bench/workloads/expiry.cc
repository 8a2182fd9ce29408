// 50,000 leases that fall due within one second beside an even load of writes and reads: what it
// does to their latency, and when the last is gone.
#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/thread.h"
#include "muster/v1/admin.pb.h"
#include "muster/v1/registry.pb.h"
#include "tests/bench/fixture.h"
#include "tests/bench/measure.h"
#include "tests/bench/requests.h"
#include "tests/bench/workload.h"

namespace muster::bench {
namespace {

constexpr size_t kStaying = 100'000;
constexpr size_t kLeaving = 50'000;
constexpr size_t kServices = 10'000;
constexpr size_t kBatch = 1'000;
constexpr size_t kInFlight = 512;
constexpr double kWritesPerSecond = 2'000;
constexpr double kReadsPerSecond = 10'000;
constexpr double kLooksPerSecond = 100;
constexpr int kWindows = 2;
constexpr int kMostRounds = 40;

struct Setup {
  size_t staying;
  size_t leaving;
  size_t services;
  absl::Duration ttl;     // of those that leave
  absl::Duration window;  // in which they are registered, and fall due
};

// The registrations of those that leave, encoded.
std::vector<std::string> LeavingBatches(const Setup& setup) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin < setup.leaving; begin += kBatch) {
    v1::BatchRegisterRequest batch;
    for (size_t i = begin; i < std::min(begin + kBatch, setup.leaving); ++i) {
      v1::RegisterRequest& request = *batch.add_requests();
      request = MakeRegister(setup.staying + i, setup.services);
      request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(setup.ttl));
    }
    out.push_back(batch.SerializeAsString());
  }
  return out;
}

absl::Status AllRegistered(uint64_t, const grpc::ByteBuffer& reply) {
  v1::BatchRegisterResponse response;
  bool registered = response.ParseFromString(ToString(reply));
  for (const auto& result : response.results()) registered &= result.status().code() == 0;
  return registered ? absl::OkStatus() : absl::InternalError("not registered");
}

absl::StatusOr<uint64_t> InstancesIn(const grpc::ByteBuffer& reply) {
  v1::StatusResponse response;
  if (!response.ParseFromString(ToString(reply))) return absl::InternalError("unreadable reply");
  return response.instances();
}

// One load in window after window, without a pause.
class Windows {
 public:
  Windows(const ServerProcess& server, UnaryLoad load)
      : client_(server.address(), 2, 1), load_(std::move(load)) {}

  // One half window to warm up, which isn't measured.
  void Run(absl::Duration window) {
    worst_p99_ = absl::ZeroDuration();
    status_ = client_.Call(load_, window / 2).status();
    for (int i = 0; i < kWindows && status_.ok(); ++i) {
      const auto result = client_.Call(load_, window);
      status_ = result.status();
      if (!result.ok()) return;
      worst_p99_ = std::max(worst_p99_, result->latency.Quantile(0.99));
      rate_ = result->PerSecond();
    }
  }
  const absl::Status& status() const { return status_; }
  // Of the windows, the one with the highest.
  double p99_ms() const { return absl::ToDoubleMilliseconds(worst_p99_); }
  double rate() const { return rate_; }  // in the last window

 private:
  Client client_;
  const UnaryLoad load_;
  absl::Status status_;
  absl::Duration worst_p99_;
  double rate_ = 0;
};

class ExpiryRounds {
 public:
  ExpiryRounds(std::shared_ptr<Server> server, const Setup& setup)
      : server_(std::move(server)),
        setup_(setup),
        batches_(LeavingBatches(setup)),
        writing_(*server_->process, {.method = kRegister,
                                     .in_flight = kInFlight,
                                     .request = Rewrites(setup.staying, setup.services),
                                     .per_second = kWritesPerSecond}),
        reading_(*server_->process, {.method = kDiscover,
                                     .in_flight = kInFlight,
                                     .request = DiscoverAny(setup.services),
                                     .per_second = kReadsPerSecond}),
        looker_(server_->process->address(), 1, 1) {}

  absl::StatusOr<Readings> Usual() { return Load(); }

  absl::StatusOr<Readings> Expiring() {
    const absl::Time begin = test::Now();
    const auto registered = server_->client->Call(
        {.method = kBatchRegister,
         .in_flight = 8,
         .request =
             [this](uint64_t number, grpc::ByteBuffer* buffer) {
               if (number < batches_.size()) *buffer = ToBuffer(batches_[number]);
               return number < batches_.size();
             },
         .reply = &AllRegistered,
         .per_second = static_cast<double>(batches_.size()) / absl::ToDoubleSeconds(setup_.window)},
        absl::Minutes(1));
    if (!registered.ok()) return registered.status();
    const absl::Time first_due = begin + setup_.ttl;
    const absl::Time last_due = first_due + registered->elapsed;
    // None of them leaves before its time.
    const size_t all = setup_.staying + setup_.leaving;
    if (absl::Status status = ExpectInstances(looker_, all); !status.ok()) return status;
    test::Pause(first_due - setup_.window / 2 - test::Now());
    absl::StatusOr<absl::Time> gone = absl::UnknownError("not looked");
    absl::StatusOr<Readings> readings = absl::UnknownError("not measured");
    {
      const base::NamedThread looking("looking", [&] { gone = AwaitGone(); });
      readings = Load();
    }
    if (!gone.ok()) return gone.status();
    if (readings.ok()) (*readings)["gone_s"] = absl::ToDoubleSeconds(*gone - last_due);
    return readings;
  }

 private:
  absl::StatusOr<Readings> Load() {
    {
      const base::NamedThread thread("writing", [this] { writing_.Run(setup_.window); });
      reading_.Run(setup_.window);
    }
    if (!writing_.status().ok()) return writing_.status();
    if (!reading_.status().ok()) return reading_.status();
    return Readings{{"write_p99_ms", writing_.p99_ms()},
                    {"read_p99_ms", reading_.p99_ms()},
                    {"writes", writing_.rate()},
                    {"reads", reading_.rate()}};
  }

  absl::StatusOr<absl::Time> AwaitGone() {
    std::atomic<bool> gone{false};
    absl::Time at;
    const auto looked = looker_.Call({.method = kStatus,
                                      .in_flight = 1,
                                      .request =
                                          [&](uint64_t, grpc::ByteBuffer* buffer) {
                                            *buffer = ToBuffer("");
                                            return !gone;
                                          },
                                      .reply =
                                          [&](uint64_t, const grpc::ByteBuffer& reply) {
                                            const auto count = InstancesIn(reply);
                                            if (count.ok() && *count == setup_.staying) {
                                              at = test::Now();
                                              gone = true;
                                            }
                                            return count.status();
                                          },
                                      .per_second = kLooksPerSecond},
                                     absl::Seconds(30));
    if (!looked.ok()) return looked.status();
    if (!gone) return absl::DeadlineExceededError("they do not go");
    return at;
  }

  const std::shared_ptr<Server> server_;
  const Setup setup_;
  const std::vector<std::string> batches_;
  Windows writing_;
  Windows reading_;
  Client looker_;
};

std::vector<Comparison> Comparisons() {
  const auto versus = [](std::string metric, const std::string& reading) {
    return Comparison{.metric = std::move(metric),
                      .unit = "ms",
                      .value = {"expiring", reading},
                      .yardstick = Source{"usual", reading},
                      .goal = AtMost(2)};
  };
  return {versus("latency of 2,000 writes/s, 99th percentile", "write_p99_ms"),
          versus("latency of 10,000 reads/s, 99th percentile", "read_p99_ms"),
          {.metric = "the last is gone after its TTL",
           .unit = "s",
           .value = {"expiring", "gone_s"},
           .goal = AtMost(2),
           .worst = true},
          {.metric = "writes", .unit = "1/s", .value = {"expiring", "writes"}},
          {.metric = "reads", .unit = "1/s", .value = {"expiring", "reads"}}};
}

absl::StatusOr<Plan> PlanExpiry(const Options& options) {
  const Setup setup{.staying = options.Scaled(kStaying),
                    .leaving = options.Scaled(kLeaving),
                    .services = options.Scaled(kServices),
                    .ttl = options.quick ? absl::Seconds(1) : absl::Seconds(5),
                    .window = options.round};
  auto dir = std::make_unique<test::TempDir>();
  const std::vector<std::string> flags = test::WithoutBrake(*dir);
  auto muster = WithClient(StartMusterd(flags, std::move(dir)));
  if (!muster.ok()) return muster.status();
  const auto filled = Fill(*(*muster)->client, 0, setup.staying, setup.services);
  if (!filled.ok()) return filled.status();
  auto rounds = std::make_shared<ExpiryRounds>(*muster, setup);
  Plan plan;
  plan.most_rounds = kMostRounds;
  plan.contestants.push_back({"usual", [rounds] { return rounds->Usual(); }});
  plan.contestants.push_back({"expiring", [rounds] { return rounds->Expiring(); }});
  plan.comparisons = Comparisons();
  return plan;
}

const Registration registration(
    "expiry", "50,000 leases fall due in a second beside 2,000 writes/s and 10,000 reads/s",
    &PlanExpiry);

}  // namespace
}  // namespace muster::bench

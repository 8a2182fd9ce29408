#include "tests/bench/soak/probes.h"

#include <atomic>
#include <utility>
#include <vector>

#include "muster/v1/registry.pb.h"
#include "tests/bench/measure.h"
#include "tests/bench/report.h"
#include "tests/bench/requests.h"
#include "tests/bench/yardstick/yardstick.h"

namespace muster::bench {
namespace {

constexpr int64_t kTtlSeconds = 1;

// A new instance each time, from `first` on, which leaves soon.
MakeRequest NewGuests(size_t first, size_t services) {
  v1::RegisterRequest request = MakeRegister(0, services);
  request.mutable_ttl()->set_seconds(kTtlSeconds);
  auto bytes = std::make_shared<const NumberedBytes>(request.SerializeAsString(), services);
  auto next = std::make_shared<std::atomic<size_t>>(first);
  return [bytes = std::move(bytes), next = std::move(next)](uint64_t, grpc::ByteBuffer* buffer) {
    *buffer = ToBuffer(bytes->For(next->fetch_add(1)));
    return true;
  };
}

}  // namespace

Probes::Probes(const ServerProcess& server, const ServerProcess& yardstick,
               const ProbeOptions& options)
    : options_(options),
      server_(server.address(), 1, 1),
      yardstick_(yardstick.address(), 1, 1),
      registers_(NewGuests(options.first, options.services)),
      bare_registers_(NewGuests(options.first, options.services)),
      discovers_(DiscoverAny(options.services)) {}

absl::StatusOr<double> Probes::Burst(Client& client, const std::string& method,
                                     const MakeRequest& request) {
  const auto called =
      client.Call({.method = method, .in_flight = 1, .request = request}, options_.burst);
  if (!called.ok()) return called.status();
  return absl::ToDoubleMicroseconds(called->latency.Quantile(0.5));
}

absl::Status Probes::Run(Sample* sample) {
  std::vector<double> registers;
  std::vector<double> discovers;
  for (int turn = 0; turn < options_.turns; ++turn) {
    const auto registered = Burst(server_, kRegister, registers_);
    const auto bare = Burst(yardstick_, kYardstickRegister, bare_registers_);
    const auto discovered = Burst(server_, kDiscover, discovers_);
    const auto empty = Burst(yardstick_, kYardstickEmpty, Same(""));
    for (const auto* us : {&registered, &bare, &discovered, &empty}) {
      if (!us->ok()) return us->status();
    }
    registers.push_back(*registered / *bare);
    discovers.push_back(*discovered / *empty);
  }
  sample->register_times_bare = Median(std::move(registers));
  sample->discover_times_empty = Median(std::move(discovers));
  return absl::OkStatus();
}

}  // namespace muster::bench

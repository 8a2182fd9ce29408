#include "tests/bench/measure.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tests/bench/yardstick/yardstick.h"

namespace muster::bench {
namespace {

constexpr absl::Duration kPublishWait = absl::Seconds(20);

Readings ReadingsOf(const LoadResult& result, const Meter& meter, double weight) {
  const double operations = static_cast<double>(result.operations) * weight;
  const double cpu = absl::ToDoubleSeconds(meter.CpuTime());
  return {{"rate", result.PerSecond() * weight},
          {"cpu_us", cpu * 1e6 / operations},
          {"per_cpu", operations / cpu},
          {"p50_us", absl::ToDoubleMicroseconds(result.latency.Quantile(0.5))},
          {"p99_us", absl::ToDoubleMicroseconds(result.latency.Quantile(0.99))},
          {"written", static_cast<double>(meter.WrittenBytes())}};
}

}  // namespace

absl::StatusOr<Readings> Measure(const ServerProcess& server, Client& client, const UnaryLoad& load,
                                 absl::Duration duration, double weight) {
  const Meter meter(server);
  const auto result = client.Call(load, duration);
  if (!result.ok()) return result.status();
  return ReadingsOf(*result, meter, weight);
}

absl::StatusOr<Readings> Measure(const ServerProcess& server, Client& client,
                                 const StreamLoad& load, absl::Duration duration, double weight) {
  const Meter meter(server);
  const auto result = client.Converse(load, duration);
  if (!result.ok()) return result.status();
  return ReadingsOf(*result, meter, weight);
}

absl::StatusOr<std::shared_ptr<Server>> WithClient(
    absl::StatusOr<std::shared_ptr<ServerProcess>> process) {
  if (!process.ok()) return process.status();
  auto server = std::make_shared<Server>();
  server->process = *std::move(process);
  server->client = std::make_unique<Client>(server->process->address());
  return server;
}

Contestant Calling(std::string name, std::shared_ptr<Server> server, UnaryLoad load,
                   absl::Duration duration) {
  return {std::move(name), [server = std::move(server), load = std::move(load), duration] {
            return Measure(*server->process, *server->client, load, duration);
          }};
}

Contestant Conversing(std::string name, std::shared_ptr<Server> server, StreamLoad load,
                      absl::Duration duration, double weight) {
  return {std::move(name), [server = std::move(server), load = std::move(load), duration, weight] {
            return Measure(*server->process, *server->client, load, duration, weight);
          }};
}

absl::StatusOr<std::vector<Contestant>> Renewed::Make(Start start, int rounds) {
  const std::shared_ptr<Renewed> renewed(new Renewed(std::move(start), rounds));
  if (absl::Status status = renewed->Begin(); !status.ok()) return status;
  std::vector<Contestant> out;
  for (size_t place = 0; place < renewed->present_.size(); ++place) {
    out.push_back(
        {renewed->present_[place].name, [renewed, place] { return renewed->Round(place); }});
  }
  return out;
}

absl::Status Renewed::Begin() {
  present_.clear();  // the old servers end before there are new ones
  auto started = start_();
  if (!started.ok()) return started.status();
  present_ = *std::move(started);
  done_.assign(present_.size(), 0);
  for (const Contestant& contestant : present_) {
    if (auto warm = contestant.round(); !warm.ok()) return warm.status();
  }
  return absl::OkStatus();
}

absl::StatusOr<Readings> Renewed::Round(size_t place) {
  // The first of a round: the others have had as many.
  if (done_[place] == rounds_) {
    if (absl::Status status = Begin(); !status.ok()) return status;
  }
  ++done_[place];
  return present_[place].round();
}

absl::StatusOr<std::string> CallOnce(Client& client, const std::string& method,
                                     const std::string& request) {
  std::string bytes;
  UnaryLoad load{.method = method, .in_flight = 1};
  load.request = [&request](uint64_t number, grpc::ByteBuffer* buffer) {
    *buffer = ToBuffer(request);
    return number == 0;
  };
  load.reply = [&bytes](uint64_t, const grpc::ByteBuffer& reply) {
    bytes = ToString(reply);
    return absl::OkStatus();
  };
  const auto result = client.Call(load, absl::Seconds(30));
  if (!result.ok()) return result.status();
  return bytes;
}

absl::Status PublishToAll(Client& client, const std::string& bytes) {
  const absl::Time end = test::Now() + kPublishWait;
  for (;;) {
    const absl::Status status = CallOnce(client, kYardstickPublish, bytes).status();
    if (!absl::IsAborted(status) || test::Now() >= end) return status;
  }
}

absl::StatusOr<v1::StatusResponse> StatusOf(Client& client) {
  const auto reply = CallOnce(client, kStatus, "");
  if (!reply.ok()) return reply.status();
  v1::StatusResponse response;
  if (!response.ParseFromString(*reply)) return absl::InternalError("unreadable reply");
  return response;
}

absl::Status ExpectInstances(Client& client, uint64_t instances) {
  const auto response = StatusOf(client);
  if (!response.ok()) return response.status();
  if (response->instances() == instances) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("there are ", response->instances(), " instances, not ", instances));
}

}  // namespace muster::bench

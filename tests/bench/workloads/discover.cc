// Discover against an empty call and etcd, and of one service against any of very many.
#include <signal.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "base/rng.h"
#include "muster/v1/discovery.pb.h"
#include "proto/etcd_kv.pb.h"
#include "tests/bench/fixture.h"
#include "tests/bench/measure.h"
#include "tests/bench/workload.h"
#include "tests/bench/yardstick/yardstick.h"

namespace muster::bench {
namespace {

constexpr size_t kInFlight = 64;
constexpr size_t kEndpoints = 10;
constexpr size_t kServices = 100'000;
// Shares no factor with the number of services: its multiples visit each once.
constexpr size_t kStride = 48'271;

// Encoded requests, one for each service.
std::shared_ptr<const std::vector<std::string>> Requests(size_t services) {
  auto out = std::make_shared<std::vector<std::string>>();
  for (size_t i = 0; i < services; ++i) {
    v1::DiscoverRequest request;
    request.set_service(ServiceName(i));
    out->push_back(request.SerializeAsString());
  }
  return out;
}

absl::Status ExpectEndpoints(Client& client, const std::string& request) {
  const auto reply = CallOnce(client, kDiscover, request);
  if (!reply.ok()) return reply.status();
  v1::DiscoverResponse response;
  if (response.ParseFromString(*reply) && response.endpoints_size() == kEndpoints) {
    return absl::OkStatus();
  }
  return absl::InternalError("not the endpoints that were registered");
}

// Data of a musterd with kEndpoints instances in each service.
absl::StatusOr<std::unique_ptr<test::TempDir>> FilledData(size_t services) {
  auto server = WithClient(StartMusterd());
  if (!server.ok()) return server.status();
  if (auto filled = Fill(*(*server)->client, 0, services * kEndpoints, services); !filled.ok()) {
    return filled.status();
  }
  test::Process& process = (*server)->process->process();
  process.Signal(SIGTERM);
  if (process.Wait() != 0) return absl::InternalError("musterd did not stop");
  return (*server)->process->TakeDir();
}

// REQUIRES: no server uses `dir`.
absl::StatusOr<std::unique_ptr<test::TempDir>> Copy(const test::TempDir& dir) {
  auto copy = std::make_unique<test::TempDir>();
  std::error_code error;
  std::filesystem::copy(dir.path("data"), copy->path("data"),
                        std::filesystem::copy_options::recursive, error);
  if (error) return absl::UnavailableError("the data can't be copied: " + error.message());
  return copy;
}

// The same records under a prefix, and nothing else.
absl::StatusOr<std::shared_ptr<Server>> FilledEtcd(std::string* range) {
  auto server = WithClient(StartEtcd());
  if (!server.ok()) return server.status();
  for (size_t i = 0; i < kEndpoints; ++i) {
    const v1::Instance instance = MakeInstance(i, 1);
    etcd::PutRequest put;
    put.set_key(instance.service() + "/" + instance.id());
    put.set_value(instance.SerializeAsString());
    auto reply = CallOnce(*(*server)->client, kEtcdPut, put.SerializeAsString());
    if (!reply.ok()) return reply.status();
  }
  etcd::RangeRequest request;
  request.set_key(ServiceName(0) + "/");
  request.set_range_end(ServiceName(0) + "0");  // what follows the slash
  request.set_serializable(true);
  *range = request.SerializeAsString();
  const auto reply = CallOnce(*(*server)->client, kEtcdRange, *range);
  if (!reply.ok()) return reply.status();
  etcd::RangeResponse response;
  if (!response.ParseFromString(*reply) || response.kvs_size() != kEndpoints) {
    return absl::InternalError("not the records that were put");
  }
  return server;
}

// Uniform random names, all of which have been asked for before.
MakeRequest AnyOf(std::shared_ptr<const std::vector<std::string>> requests) {
  return [requests = std::move(requests)](uint64_t number, grpc::ByteBuffer* buffer) {
    *buffer = ToBuffer((*requests)[base::SeededRng(number).Uniform(requests->size())]);
    return true;
  };
}

// Names that nobody has asked for since the server was started: anew for each round. But for the
// first, which warms up the program and the connections, since only the names are to be cold, and
// is what they are compared with ("one cpu_us").
class ColdServer {
 public:
  ColdServer(std::shared_ptr<Server> server, absl::Duration duration,
             std::shared_ptr<const std::vector<std::string>> requests)
      : server_(std::move(server)), duration_(duration), requests_(std::move(requests)) {}

  absl::StatusOr<Readings> Round() {
    server_->process->process().Kill();
    auto server = WithClient(StartMusterd({}, server_->process->TakeDir()));
    if (!server.ok()) return server.status();
    server_ = *std::move(server);
    UnaryLoad load{.method = kDiscover, .in_flight = kInFlight};
    load.request = Same(requests_->front());
    if (const auto warmed = server_->client->Call(load, duration_); !warmed.ok()) {
      return warmed.status();
    }
    const auto one = Measure(*server_->process, *server_->client, load, duration_);
    if (!one.ok()) return one.status();
    load.request = [this](uint64_t number, grpc::ByteBuffer* buffer) {
      *buffer = ToBuffer((*requests_)[(number + 1) * kStride % requests_->size()]);
      return number + 1 < requests_->size();
    };
    auto out = Measure(*server_->process, *server_->client, load, duration_);
    if (out.ok()) (*out)["one cpu_us"] = one->at("cpu_us");
    return out;
  }

 private:
  std::shared_ptr<Server> server_;
  const absl::Duration duration_;
  const std::shared_ptr<const std::vector<std::string>> requests_;
};

std::vector<Comparison> Comparisons() {
  const std::string one = "one service";
  return {{.metric = "discover of 10 endpoints",
           .unit = "1/s",
           .value = {one, "rate"},
           .yardstick = Source{"empty call", "rate"},
           .goal = AtLeast(0.85)},
          {.metric = "discover of 10 endpoints",
           .unit = "1/s",
           .value = {one, "rate"},
           .yardstick = Source{"etcd range", "rate"},
           .goal = AtLeast(2.2)},
          {.metric = "server CPU a discover",
           .unit = "us",
           .value = {one, "cpu_us"},
           .yardstick = Source{"empty call", "cpu_us"}},
          {.metric = "server CPU a discover",
           .unit = "us",
           .value = {one, "cpu_us"},
           .yardstick = Source{"etcd range", "cpu_us"}},
          {.metric = "server CPU a discover, any of 100,000, warm",
           .unit = "us",
           .value = {"any service, warm", "cpu_us"},
           .yardstick = Source{one, "cpu_us"},
           .goal = AtMost(1.1)},
          {.metric = "server CPU a discover, any of 100,000, cold",
           .unit = "us",
           .value = {"any service, cold", "cpu_us"},
           .yardstick = Source{"any service, cold", "one cpu_us", "one service, fresh"},
           .goal = AtMost(1.1)}};
}

absl::StatusOr<Plan> PlanDiscover(const Options& options) {
  const auto requests = Requests(options.Scaled(kServices));
  auto data = FilledData(requests->size());
  if (!data.ok()) return data.status();
  auto copy = Copy(**data);
  if (!copy.ok()) return copy.status();
  auto muster = WithClient(StartMusterd({}, *std::move(data)));
  if (!muster.ok()) return muster.status();
  if (auto status = ExpectEndpoints(*(*muster)->client, requests->front()); !status.ok()) {
    return status;
  }
  auto cold = WithClient(StartMusterd({}, *std::move(copy)));
  if (!cold.ok()) return cold.status();
  auto yardstick = WithClient(StartYardstick());
  if (!yardstick.ok()) return yardstick.status();
  std::string range;
  auto etcd = FilledEtcd(&range);
  if (!etcd.ok()) return etcd.status();

  Plan plan;
  const auto calls = [&](std::string name, std::shared_ptr<Server> server, std::string method,
                         MakeRequest request) {
    plan.contestants.push_back(Calling(
        std::move(name), std::move(server),
        {.method = std::move(method), .in_flight = kInFlight, .request = std::move(request)},
        options.round));
  };
  calls("empty call", *yardstick, kYardstickEmpty, Same(""));
  calls("one service", *muster, kDiscover, Same(requests->front()));
  calls("any service, warm", *muster, kDiscover, AnyOf(requests));
  calls("etcd range", *etcd, kEtcdRange, Same(range));
  auto cold_server = std::make_shared<ColdServer>(*cold, options.round, requests);
  plan.contestants.push_back({"any service, cold", [cold_server] { return cold_server->Round(); }});
  plan.comparisons = Comparisons();
  return plan;
}

const Registration registration(
    "discover", "64 calls in flight, 10 endpoints: empty call, etcd, any of 100,000 services",
    &PlanDiscover);

}  // namespace
}  // namespace muster::bench

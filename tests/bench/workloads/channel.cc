// Calls of a generated stub on the library's channel, each at an endpoint of its own, against those
// on a channel of gRPC's own with its round_robin policy. Both call the same three bare servers;
// what is compared is the time of a call and the CPU time that it costs this process.
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/net_address.h"
#include "muster/client/client.h"
#include "muster/client/service_channel.h"
#include "proto/yardstick.grpc.pb.h"
#include "tests/bench/servers.h"
#include "tests/bench/workload.h"
#include "tests/support/process.h"

namespace muster::bench {
namespace {

constexpr int kServers = 3;
constexpr int kThreads = 2;

using Stub = v1::Yardstick::Stub;
// Makes one call.
using Calls = std::function<bool(Stub&)>;

struct Setting {
  std::vector<std::shared_ptr<ServerProcess>> servers;
  std::shared_ptr<client::ServiceChannel> channel;
  std::unique_ptr<Stub> by_muster;
  std::unique_ptr<Stub> by_grpc;
};

std::unique_ptr<Stub> RoundRobinStub(const std::vector<std::string>& addresses) {
  grpc::ChannelArguments arguments;
  arguments.SetLoadBalancingPolicyName("round_robin");
  // Connections of its own.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return v1::Yardstick::NewStub(
      grpc::CreateCustomChannel(absl::StrCat("ipv4:", absl::StrJoin(addresses, ",")),
                                grpc::InsecureChannelCredentials(), arguments));
}

absl::StatusOr<std::shared_ptr<Setting>> MakeSetting() {
  auto setting = std::make_shared<Setting>();
  std::vector<std::string> addresses;
  for (int i = 0; i < kServers; ++i) {
    auto server = StartYardstick();
    if (!server.ok()) return server.status();
    addresses.push_back((*server)->address());
    setting->servers.push_back(*std::move(server));
  }
  const auto client = client::Client::Create({.snapshot = false, .dns = false});
  if (!client.ok()) return client.status();
  auto channel = client->Channel(absl::StrCat("static:///", absl::StrJoin(addresses, ",")));
  if (!channel.ok()) return channel.status();
  setting->channel = *std::move(channel);
  setting->by_muster = v1::Yardstick::NewStub(setting->channel);
  setting->by_grpc = RoundRobinStub(addresses);
  return setting;
}

bool CallOnce(Stub& stub, grpc::ClientContext& context) {
  google::protobuf::Empty request;
  google::protobuf::Empty response;
  return stub.Empty(&context, request, &response).ok();
}

absl::StatusOr<Readings> Run(Stub& stub, const Calls& call, absl::Duration duration) {
  using Clock = std::chrono::steady_clock;
  std::atomic<bool> stop{false};
  std::atomic<int> failed{0};
  std::vector<std::vector<double>> microseconds(kThreads);
  const absl::Duration before = CpuTimeOf(getpid());
  std::vector<std::thread> threads;
  for (auto& of_thread : microseconds) {
    threads.emplace_back([&] {
      while (!stop) {
        const auto begin = Clock::now();
        failed += call(stub) ? 0 : 1;
        of_thread.push_back(
            std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
      }
    });
  }
  test::Pause(duration);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  const absl::Duration cpu = CpuTimeOf(getpid()) - before;
  if (failed > 0) return absl::InternalError(absl::StrCat(failed.load(), " calls failed"));
  std::vector<double> all;
  for (const auto& some : microseconds) all.insert(all.end(), some.begin(), some.end());
  if (all.empty()) return absl::InternalError("no call was made");
  std::sort(all.begin(), all.end());
  const auto calls = static_cast<double>(all.size());
  return Readings{{"p50_us", all[all.size() / 2]},
                  {"cpu_us", absl::ToDoubleMicroseconds(cpu) / calls},
                  {"rate", calls / absl::ToDoubleSeconds(duration)}};
}

absl::StatusOr<Plan> PlanChannel(const Options& options) {
  auto made = MakeSetting();
  if (!made.ok()) return made.status();
  const std::shared_ptr<Setting> setting = *std::move(made);
  const auto once = [](Stub& stub) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(3));
    return CallOnce(stub, context);
  };
  const auto guarded = [setting](Stub& stub) {
    return setting->channel
        ->Call([&](grpc::ClientContext& context) {
          return CallOnce(stub, context) ? grpc::Status::OK
                                         : grpc::Status(grpc::StatusCode::UNAVAILABLE, "");
        })
        .ok();
  };
  Plan plan;
  const auto add = [&](const std::string& name, Stub& stub, const Calls& calls) {
    plan.contestants.push_back({name, [setting, &stub, calls, duration = options.round] {
                                  return Run(stub, calls, duration);
                                }});
  };
  add("muster", *setting->by_muster, once);
  add("gRPC round_robin", *setting->by_grpc, once);
  add("muster, guarded", *setting->by_muster, guarded);
  for (const std::string name : {"muster", "muster, guarded"}) {
    for (const auto& [metric, reading] :
         {std::pair{"time of a call, p50", "p50_us"}, {"client CPU of a call", "cpu_us"}}) {
      plan.comparisons.push_back({.metric = absl::StrCat(metric, ", ", name),
                                  .unit = "us",
                                  .value = {name, reading},
                                  .yardstick = Source{"gRPC round_robin", reading},
                                  .goal = AtMost(1.25)});
    }
  }
  return plan;
}

const Registration registration("channel",
                                "calls on the client's gRPC channel, each at another endpoint",
                                &PlanChannel);

}  // namespace
}  // namespace muster::bench

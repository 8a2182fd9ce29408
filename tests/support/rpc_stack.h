// The faces Registry and Discovery on a free port, over the core on a memory engine with threads.
#pragma once

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/rng.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "muster/v1/discovery.grpc.pb.h"
#include "muster/v1/registry.grpc.pb.h"
#include "server/core/applier.h"
#include "server/core/held_set.h"
#include "server/rpc/calls.h"
#include "server/rpc/compression.h"
#include "server/rpc/discovery_service.h"
#include "server/rpc/registry_service.h"
#include "storage/memory_engine.h"

namespace muster::rpc {

// ErrorInfo.reason of a status; "" when there is none.
inline std::string ReasonIn(const google::rpc::Status& details) {
  google::rpc::ErrorInfo info;
  if (details.details_size() == 0 || !details.details(0).UnpackTo(&info)) return "";
  return info.reason();
}
inline std::string ReasonIn(const grpc::Status& status) {
  google::rpc::Status details;
  return details.ParseFromString(status.error_details()) ? ReasonIn(details) : "";
}

inline void SetDeadline(grpc::ClientContext& context, absl::Duration timeout) {
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout));
}

class RpcStack {
 public:
  explicit RpcStack(
      WatchOptions options = {}, core::RegistryOptions registry_options = {},
      std::shared_ptr<storage::MemoryStore> store = std::make_shared<storage::MemoryStore>(),
      uint64_t max_waiting_calls = 10'000)
      : engine({.clock = base::RealClock(), .rng = rng}, std::move(store)),
        registry(engine, catalog, leases, held, base::RealClock(), registry_options),
        discovery_service({.catalog = catalog,
                           .hub = hub,
                           .leases = leases,
                           .held = held,
                           .engine = engine,
                           .authorizer = authorizer,
                           .state = state,
                           .clock = base::RealClock(),
                           .rng = rng,
                           .executor = pump},
                          options, max_waiting_calls) {
    EXPECT_TRUE(engine.Open({&applier}).ok());
    leases.SetLoaded();
    state.SetPhase(Phase::kServing);
    registry_service.SetDrains(&discovery_service.drains());
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    RefuseCompressed(builder);
    registry_service.ServeOn(grpc_calls);
    discovery_service.ServeOn(grpc_calls);
    grpc_calls.AddTo(builder);
    builder.RegisterService(&registry_service);
    builder.RegisterService(&discovery_service);
    server = builder.BuildAndStart();
    grpc_calls.Start();
    channel = NewChannel();
    registry_stub = v1::Registry::NewStub(channel);
    discovery_stub = v1::Discovery::NewStub(channel);
  }
  ~RpcStack() { Stop(); }

  void Stop() {
    if (server == nullptr) return;
    state.SetPhase(Phase::kDraining);
    discovery_service.EndWatches();
    registry_service.EndStreams();
    server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
    grpc_calls.Stop();
    pump.Stop();
    engine.Close();
    server.reset();
  }

  std::shared_ptr<grpc::Channel> NewChannel() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port),
                                     grpc::InsecureChannelCredentials(), arguments);
  }

  static v1::RegisterRequest Request(const std::string& service, const std::string& id) {
    v1::RegisterRequest request;
    request.mutable_instance()->set_service(service);
    request.mutable_instance()->set_id(id);
    request.mutable_instance()->set_address("10.0.0.1");
    request.set_permanent(true);
    return request;
  }
  v1::RegisterResponse Register(const v1::RegisterRequest& request) {
    v1::RegisterResponse response;
    grpc::ClientContext context;
    const grpc::Status status = registry_stub->Register(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  v1::RegisterResponse Register(const std::string& service, const std::string& id) {
    return Register(Request(service, id));
  }
  void Deregister(const std::string& service, const std::string& id) {
    v1::DeregisterRequest request;
    request.mutable_key()->set_service(service);
    request.mutable_key()->set_id(id);
    v1::DeregisterResponse response;
    grpc::ClientContext context;
    const grpc::Status status = registry_stub->Deregister(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
  grpc::Status Discover(const v1::DiscoverRequest& request, v1::DiscoverResponse* response,
                        absl::Duration timeout = absl::Seconds(20)) {
    grpc::ClientContext context;
    SetDeadline(context, timeout);
    return discovery_stub->Discover(&context, request, response);
  }
  v1::DiscoverResponse Discover(const std::string& service) {
    v1::DiscoverRequest request;
    request.set_service(service);
    v1::DiscoverResponse response;
    const grpc::Status status = Discover(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  // Until what was proposed before has been settled.
  void Barrier() {
    absl::Notification settled;
    engine.Propose({{storage::Unit{}}}, storage::WriteClass::kInternal,
                   [&](const auto&) { settled.Notify(); });
    settled.WaitForNotification();
  }

  base::SystemRng rng;
  core::Catalog catalog;
  core::WatchHub hub;
  core::LeaseTable leases{base::RealClock(), rng, {}};
  core::HeldSet held{catalog, leases, hub, base::RealClock()};
  core::Applier applier{catalog, leases, hub};
  storage::MemoryEngine engine;
  core::Registry registry;
  security::Authorizer authorizer{nullptr, false};
  ServerState state;
  Calls grpc_calls;
  RegistryService registry_service{registry, authorizer, state, {}};
  base::SerialExecutor pump{"pump"};
  DiscoveryService discovery_service;
  int port = 0;
  std::unique_ptr<grpc::Server> server;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Registry::Stub> registry_stub;
  std::unique_ptr<v1::Discovery::Stub> discovery_stub;
};

// One Watch stream of a client. Reads block; each stream ends with the test's deadline.
class TestWatch {
 public:
  explicit TestWatch(v1::Discovery::Stub& stub, absl::Duration deadline = absl::Seconds(30)) {
    SetDeadline(context_, deadline);
    stream_ = stub.Watch(&context_);
  }
  ~TestWatch() {
    context_.TryCancel();
    if (!finished_) (void)stream_->Finish();
  }

  bool Subscribe(uint64_t sub_id, const std::string& service, const v1::Resume* resume = nullptr,
                 const v1::Selector& selector = {}) {
    v1::WatchRequest request;
    auto* subscribe = request.mutable_subscribe();
    subscribe->set_sub_id(sub_id);
    subscribe->set_service(service);
    *subscribe->mutable_selector() = selector;
    if (resume != nullptr) *subscribe->mutable_resume() = *resume;
    return stream_->Write(request);
  }
  bool Unsubscribe(uint64_t sub_id) {
    v1::WatchRequest request;
    request.mutable_unsubscribe()->set_sub_id(sub_id);
    return stream_->Write(request);
  }
  bool Send(const v1::WatchRequest& request) { return stream_->Write(request); }
  void HalfClose() { stream_->WritesDone(); }
  // The next event; an empty one when the stream has ended.
  v1::WatchResponse Read() {
    v1::WatchResponse event;
    if (!stream_->Read(&event)) event.Clear();
    return event;
  }
  grpc::Status Finish() {
    finished_ = true;
    return stream_->Finish();
  }
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::WatchRequest, v1::WatchResponse>> stream_;
  bool finished_ = false;
};

}  // namespace muster::rpc

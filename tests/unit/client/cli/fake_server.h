// A server whose answers are functions of the test, and the command line run against it in process.
//
//   FakeServer server;
//   server.discovery.discover = [](const auto& request, auto* response) { … return Ok(); };
//   Ran ran = RunAt(server, {"discover", "web"});
//
// Calls without a function answer UNIMPLEMENTED. Functions run on gRPC's threads: what they share
// with the test has to be safe for that (Recorder).
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "muster/v1/admin.grpc.pb.h"
#include "muster/v1/discovery.grpc.pb.h"
#include "muster/v1/registry.grpc.pb.h"

namespace muster::cli::testing {

// What came, in order. Thread-safe.
template <typename T>
class Recorder {
 public:
  // How many there are now.
  size_t Add(T value) {
    base::MutexLock lock(mu_);
    values_.push_back(std::move(value));
    return values_.size();
  }
  std::vector<T> All() const {
    base::MutexLock lock(mu_);
    return values_;
  }

 private:
  mutable base::Mutex mu_;
  std::vector<T> values_ MUSTER_GUARDED_BY(mu_);
};

inline grpc::Status Ok() { return grpc::Status::OK; }
// With an ErrorInfo of this reason.
grpc::Status Refused(grpc::StatusCode code, const std::string& reason, const std::string& message);

template <typename Request, typename Response>
using Unary = std::function<grpc::Status(const Request&, Response*)>;

using WatchStream = grpc::ServerReaderWriter<v1::WatchResponse, v1::WatchRequest>;

#define MUSTER_FAKE_UNARY(Method, hook)                                                   \
  Unary<v1::Method##Request, v1::Method##Response> hook;                                  \
  grpc::Status Method(grpc::ServerContext* context, const v1::Method##Request* request,   \
                      v1::Method##Response* response) override {                          \
    return hook ? hook(*request, response) : Service::Method(context, request, response); \
  }

struct FakeDiscovery : public v1::Discovery::Service {
  MUSTER_FAKE_UNARY(Discover, discover)
  MUSTER_FAKE_UNARY(ListServices, list_services)
  MUSTER_FAKE_UNARY(DescribeInstance, describe)
  std::function<grpc::Status(WatchStream&)> watch;
  grpc::Status Watch(grpc::ServerContext* context, WatchStream* stream) override {
    return watch ? watch(*stream) : Service::Watch(context, stream);
  }
  std::function<grpc::Status(grpc::ServerWriter<v1::WatchServicesResponse>&)> watch_services;
  grpc::Status WatchServices(grpc::ServerContext* context, const v1::WatchServicesRequest* request,
                             grpc::ServerWriter<v1::WatchServicesResponse>* writer) override {
    return watch_services ? watch_services(*writer)
                          : Service::WatchServices(context, request, writer);
  }
};

struct FakeRegistry : public v1::Registry::Service {
  // Called "register_" because of the keyword.
  MUSTER_FAKE_UNARY(Register, register_)
  MUSTER_FAKE_UNARY(BatchRegister, batch_register)
  MUSTER_FAKE_UNARY(AddCheck, add_check)
  MUSTER_FAKE_UNARY(RemoveCheck, remove_check)
  MUSTER_FAKE_UNARY(Deregister, deregister)
  MUSTER_FAKE_UNARY(ReportHealth, report_health)
  MUSTER_FAKE_UNARY(Drain, drain)
  MUSTER_FAKE_UNARY(SetMaintenance, set_maintenance)
  MUSTER_FAKE_UNARY(SetServiceSettings, set_settings)
  // Milliseconds that the caller is ready to wait, as well.
  std::function<grpc::Status(const v1::HeartbeatRequest&, v1::HeartbeatResponse*, int64_t)>
      heartbeat;
  grpc::Status Heartbeat(grpc::ServerContext* context, const v1::HeartbeatRequest* request,
                         v1::HeartbeatResponse* response) override;
};

struct FakeAdmin : public v1::Admin::Service {
  MUSTER_FAKE_UNARY(Status, status)
  MUSTER_FAKE_UNARY(ListLeases, list_leases)
  MUSTER_FAKE_UNARY(Verify, verify)
  MUSTER_FAKE_UNARY(SetLogLevel, set_log_level)
  std::function<grpc::Status(grpc::ServerWriter<v1::BackupResponse>&)> backup;
  grpc::Status Backup(grpc::ServerContext* context, const v1::BackupRequest* request,
                      grpc::ServerWriter<v1::BackupResponse>* writer) override {
    return backup ? backup(*writer) : Service::Backup(context, request, writer);
  }
};

#undef MUSTER_FAKE_UNARY

class FakeServer {
 public:
  // `port` 0: a free one. Set the functions before the first call.
  explicit FakeServer(int port = 0);
  ~FakeServer();

  std::string address() const;
  int port() const { return port_; }

  FakeDiscovery discovery;
  FakeRegistry registry;
  FakeAdmin admin;

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// An address where nothing listens.
std::string DeadAddress();

// A server that takes connections and never says a word, as one that was stopped.
class HungServer {
 public:
  HungServer();
  ~HungServer();
  HungServer(const HungServer&) = delete;
  HungServer& operator=(const HungServer&) = delete;
  std::string address() const;

 private:
  const int fd_;
};

struct Ran {
  int code = -1;
  std::string out;
  std::string err;
};

struct RunOptions {
  std::string input;
  bool interactive = false;
  bool out_is_terminal = false;
  size_t out_columns = 0;
  // Standard output is full: from the start, or from this many bytes on.
  bool broken_output = false;
  size_t output_room = SIZE_MAX;
  // Called when the first line on stderr is complete.
  std::function<void()> on_first_error_line;
};

Ran RunWords(const std::vector<std::string>& words, const RunOptions& options = {});
// With the server's address.
Ran RunAt(const FakeServer& server, std::vector<std::string> words, const RunOptions& options = {});

// SIGINT for this process.
void SendInterrupt();

uint64_t EndpointHash(const v1::Endpoint& endpoint);
v1::Endpoint MakeEndpoint(const std::string& id, uint64_t revision);
// A whole snapshot with the right checksum.
v1::WatchResponse WholeSnapshot(uint64_t sub_id, const std::vector<v1::Endpoint>& endpoints,
                                uint64_t seq);
// An endpoint that comes to a set whose checksum was `before`.
v1::WatchResponse Addition(uint64_t sub_id, const v1::Endpoint& endpoint, uint64_t before);
// The next request of the stream has to be a subscription; empty when the stream ended.
v1::Subscribe ReadSubscribe(WatchStream& stream);

}  // namespace muster::cli::testing

// muster.v1.Admin over gRPC: for operators.
//
// Thread safety: gRPC's threads call the handlers; Backup and Verify run on threads of this
// service, one call of each at a time. Ownership: all references outlive the service. Stop order:
// EndCalls, shut the gRPC server down, Stop, close the engine.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "muster/v1/admin.grpc.pb.h"
#include "server/core/catalog.h"
#include "server/core/held_set.h"
#include "server/core/lease_table.h"
#include "server/rpc/server_state.h"
#include "server/security/authorizer.h"
#include "storage/engine.h"

namespace muster::rpc {

class BackupStream;

struct WatchCounts {
  uint64_t streams = 0;
  uint64_t subscriptions = 0;
  uint64_t waiting_calls = 0;
};

struct ConnectionCounts {
  uint64_t open = 0;
  uint64_t max = 0;
  uint64_t refused = 0;  // since the start
  base::SteadyTime last_refused;
};

class AdminService : public v1::Admin::CallbackService {
 public:
  struct Rooms {
    core::Catalog& catalog;
    const core::LeaseTable& leases;
    const core::HeldSet& held;
    const storage::Engine& engine;
    const security::Authorizer& authorizer;
    const ServerState& state;
    const base::Clock& clock;
  };
  struct Options {
    std::string version;  // of the program
    std::string build;    // compiler, build type, library versions
    uint64_t max_instances = 0;
    uint64_t max_subscriptions = 0;
    uint64_t max_waiting_calls = 0;
    // Called by gRPC's threads.
    std::function<WatchCounts()> watches;
    // Unset: not told.
    std::function<ConnectionCounts()> connections;
  };
  AdminService(const Rooms& rooms, Options options);
  ~AdminService() override { Stop(); }

  // Ends Backup and Verify calls, and all later ones, with UNAVAILABLE (DRAINING).
  void EndCalls();
  // Joins the threads. Idempotent.
  void Stop();

  grpc::ServerUnaryReactor* Status(grpc::CallbackServerContext* context,
                                   const v1::StatusRequest* request,
                                   v1::StatusResponse* response) override;
  grpc::ServerUnaryReactor* ListLeases(grpc::CallbackServerContext* context,
                                       const v1::ListLeasesRequest* request,
                                       v1::ListLeasesResponse* response) override;
  grpc::ServerWriteReactor<v1::BackupResponse>* Backup(grpc::CallbackServerContext* context,
                                                       const v1::BackupRequest* request) override;
  grpc::ServerUnaryReactor* Verify(grpc::CallbackServerContext* context,
                                   const v1::VerifyRequest* request,
                                   v1::VerifyResponse* response) override;
  grpc::ServerUnaryReactor* SetLogLevel(grpc::CallbackServerContext* context,
                                        const v1::SetLogLevelRequest* request,
                                        v1::SetLogLevelResponse* response) override;
  grpc::ServerUnaryReactor* TopServices(grpc::CallbackServerContext* context,
                                        const v1::TopServicesRequest* request,
                                        v1::TopServicesResponse* response) override;
  grpc::ServerUnaryReactor* ListWatchers(grpc::CallbackServerContext* context,
                                         const v1::ListWatchersRequest* request,
                                         v1::ListWatchersResponse* response) override;

 private:
  // May this call run now?
  absl::Status Admit(const grpc::CallbackServerContext& context, security::Right right) const;
  absl::Status BeginBackup(const std::shared_ptr<BackupStream>& stream);
  void RunBackup(const std::shared_ptr<BackupStream>& stream);
  v1::StatusResponse MakeStatus() const;

  const Rooms rooms_;
  const Options options_;
  const base::SteadyTime started_;
  const base::SystemTime started_at_;
  std::atomic<bool> ending_{false};

  base::Mutex mu_;
  std::shared_ptr<BackupStream> backup_ MUSTER_GUARDED_BY(mu_);  // the one that runs

  std::atomic<bool> verifying_{false};
  base::SerialExecutor copier_{"backup"};
  base::SerialExecutor verifier_{"verify"};
};

}  // namespace muster::rpc

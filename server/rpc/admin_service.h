// muster.v1.Admin over gRPC: for operators.
//
// Thread safety: the threads of Calls call the handlers; Backup and Verify run on threads of this
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
#include "server/core/lease_judge.h"
#include "server/core/lease_table.h"
#include "server/rpc/calls.h"
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

struct ProbeCounts {
  uint64_t under_way = 0;
  uint64_t waiting = 0;
  uint64_t max = 0;
};

// All as bytes.
using AdminMethods = v1::Admin::WithRawMethod_Status<v1::Admin::WithRawMethod_ListLeases<
    v1::Admin::WithRawMethod_Backup<v1::Admin::WithRawMethod_Verify<
        v1::Admin::WithRawMethod_SetLogLevel<v1::Admin::WithRawMethod_TopServices<
            v1::Admin::WithRawMethod_ListWatchers<v1::Admin::Service>>>>>>>;

class AdminService : public AdminMethods {
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
    // Called by the threads of Calls.
    std::function<WatchCounts()> watches;
    // Unset: not told.
    std::function<ConnectionCounts()> connections;
    // Unset: not told.
    std::function<core::BrakeStanding()> brake{};
    // Unset: not told.
    std::function<ProbeCounts()> probes{};
  };
  AdminService(const Rooms& rooms, Options options);
  ~AdminService() override { Stop(); }

  // Adds all methods.
  void ServeOn(Calls& calls);
  // Ends Backup and Verify calls, and all later ones, with UNAVAILABLE (DRAINING).
  void EndCalls();
  // Joins the threads. Idempotent.
  void Stop();

 private:
  void OnStatus(const UnaryCall& call) const;
  void OnListLeases(const UnaryCall& call) const;
  void OnBackup(StreamCall& call);
  void OnVerify(const UnaryCall& call);
  void OnSetLogLevel(const UnaryCall& call) const;
  // Not in this release: UNIMPLEMENTED.
  void Later(const UnaryCall& call, std::string_view name) const;

  // May this call run now?
  absl::Status Admit(const grpc::ServerContextBase& context, security::Right right) const;
  // The same, and reads its request.
  template <typename Request>
  absl::Status Begin(const UnaryCall& call, security::Right right, Request& request) const;
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

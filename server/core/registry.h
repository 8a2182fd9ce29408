// Registry: the only door through which state changes.
//
// It reads the applied state, decides, and proposes with preconditions on what it read; a unit
// that is rejected is decided anew on the current value. Writes of one instance go one after
// another, in the order in which they came.
//
// Thread safety: all members, from any thread, unless said otherwise; none waits. `done` runs on
// the caller's thread (for errors and no-ops) or on the engine's completion thread.
//
// Errors: base::Reason in each status.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "muster/v1/registry.pb.h"
#include "server/core/catalog.h"
#include "server/core/check_change.h"
#include "server/core/held_set.h"
#include "server/core/instance.h"
#include "server/core/instance_change.h"
#include "server/core/lease.h"
#include "server/core/lease_judge.h"
#include "server/core/lease_table.h"
#include "storage/engine.h"

namespace muster::core {

struct RegistryOptions {
  absl::Duration default_ttl = absl::Seconds(30);
  absl::Duration min_ttl = absl::Seconds(1);
  absl::Duration max_ttl = absl::Hours(24);
  uint64_t max_instances = 2'000'000;
  size_t max_batch = 1000;
  size_t tombstones_per_service = 1024;
  absl::Duration tombstone_age = absl::Hours(1);
  absl::Duration forget_empty_after = absl::Hours(24);
  // Of instances and nodes that are in maintenance, and of services that have settings.
  uint64_t max_maintenance = 100'000;
  uint64_t max_settings = 100'000;
  BrakeOptions brake{};  // off
};

// Where a call came from.
struct Caller {
  std::string peer_address;  // an IP, "" when unknown
  bool loopback_peer_ok = true;
  std::string origin = "grpc";
};

// What became of a drain.
struct Drained {
  storage::Revision revision;  // of the store after it began to drain
  // Whoever knows of the service's changes up to this seq knows that it drains.
  uint64_t seq = 0;
  std::string endpoint;  // what the instance declares: an encoded v1::Endpoint
};

// What became of a registration.
struct Registered {
  storage::InstanceKey key;  // the service as it was first given
  uint64_t incarnation = 0;  // also the lease handle
  bool changed = false;
  storage::Revision revision;                 // of the store after it
  absl::Duration ttl = absl::ZeroDuration();  // as granted; zero = permanent
};

class Registry {
 public:
  Registry(storage::Engine& engine, Catalog& catalog, LeaseTable& leases, HeldSet& held,
           const base::Clock& clock, RegistryOptions options);
  ~Registry();

  using RegisterDone = std::function<void(absl::StatusOr<Registered>)>;
  // The first takes what it can out of the request.
  void Register(v1::RegisterRequest&& request, const Caller& caller, RegisterDone done);
  void Register(const v1::RegisterRequest& request, const Caller& caller, RegisterDone done);

  // One proposal for all; results in order, each as of Register.
  using BatchDone = std::function<void(std::vector<absl::StatusOr<Registered>>)>;
  void BatchRegister(v1::BatchRegisterRequest&& request, const Caller& caller, BatchDone done);
  void BatchRegister(const v1::BatchRegisterRequest& request, const Caller& caller, BatchDone done);

  using DeregisterDone = std::function<void(absl::StatusOr<v1::DeregisterResponse>)>;
  void Deregister(const v1::DeregisterRequest& request, DeregisterDone done);

  // The instance is DRAINING to the end of its life; a second call changes nothing. Errors: as
  // Deregister.
  using DrainDone = std::function<void(absl::StatusOr<Drained>)>;
  void Drain(const v1::DrainRequest& request, DrainDone done);

  using ReportDone = std::function<void(absl::StatusOr<v1::ReportHealthResponse>)>;
  void ReportHealth(const v1::ReportHealthRequest& request, ReportDone done);
  // Is told of each report of a present life, before it is looked at, since that may wait for the
  // disk: `check_id` as in the request. On any thread. To be set before the first report.
  using ReportListener =
      std::function<void(std::string_view instance_key, std::string_view check_id)>;
  void SetReportListener(ReportListener listener) { report_listener_ = std::move(listener); }

  // What the server found out itself. NOT_FOUND: it doesn't matter any more.
  using OutcomeDone = std::function<void(absl::Status)>;
  void SetOutcome(CheckOutcome outcome, OutcomeDone done);

  using AddCheckDone = std::function<void(absl::StatusOr<v1::AddCheckResponse>)>;
  void AddCheck(const v1::AddCheckRequest& request, AddCheckDone done);
  using RemoveCheckDone = std::function<void(absl::StatusOr<v1::RemoveCheckResponse>)>;
  void RemoveCheck(const v1::RemoveCheckRequest& request, RemoveCheckDone done);

  // Takes an instance, or all of a node, out of the answers or back in. `done` runs when each
  // instance that is registered has the state. Cost of a node: a look into each service of its
  // namespace, 1,024 at a time, so that other answers go in between.
  using MaintenanceDone = std::function<void(absl::StatusOr<v1::SetMaintenanceResponse>)>;
  void SetMaintenance(const v1::SetMaintenanceRequest& request, MaintenanceDone done);

  // Replaces a service's settings; the service need not be known.
  using SettingsDone = std::function<void(absl::StatusOr<v1::SetServiceSettingsResponse>)>;
  void SetServiceSettings(const v1::SetServiceSettingsRequest& request, SettingsDone done);

  // At most 10,000 items.
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request);

  // Proposes the removal of what fell due, the longest overdue first, a turn when the last is
  // nearly gone, so that user writes go in between: 20,000 a second, or all within 1.5 s of when
  // the most of them were due if that is more, at most 512 a turn. Returns how many it took. While
  // the store takes no writes they are held instead, and one a second, of those that the brake lets
  // go, is proposed to see whether it does again. Whom the brake keeps (expiry_brake.h) is held,
  // too; after a thousand of them it returns 0, so that others have the thread: come again soon
  // while is_removing. By one thread.
  size_t ExpireDue();
  // Of what ExpireDue proposed: not settled yet.
  size_t removals_under_way() const { return removals_under_way_.load(); }
  // Some are under way, or wait for their turn.
  bool is_removing() const { return removals_under_way() > 0 || leases_.due() > 0; }
  // Of the brake.
  BrakeStanding brake() const { return judge_.standing(); }
  // Upkeep: prunes tombstones, up to 256 of each service, and forgets services that are long empty.
  // All at once: for tests.
  void Maintain();
  // The same in parts, so that it holds up nobody: every 100 ms or so, by the thread that calls
  // ExpireDue. It begins every ten seconds, and each service has had its turn about six seconds
  // later; where more than 256 are to be pruned it has another one. While a herd of leases leaves
  // it waits, ten seconds at most. When the store refuses, the rest waits for the next ten.
  void MaintainPart();

  const RegistryOptions& options() const { return options_; }

 private:
  struct Write;  // one attempt at changing one instance
  struct Outcome {
    uint64_t seq = 0;
    uint64_t incarnation = 0;
    bool changed = false;
  };
  // What a write makes of the instance that it finds.
  using Edit = std::function<absl::StatusOr<Change>(std::string_view key, const StoredInstance&,
                                                    ReadCheck, uint64_t now_ms)>;
  using EditDone = std::function<void(absl::StatusOr<Outcome>)>;
  class Turns;
  static constexpr int kMaxHeartbeats = 10000;

  absl::StatusOr<std::shared_ptr<Write>> MakeRegistration(v1::RegisterRequest&& request,
                                                          const Caller& caller);
  // The write's last: takes its names.
  Registered RegisteredAs(Write& write, const Outcome& outcome) const;
  // True: write.change is to be proposed. False: done, nothing to write.
  absl::StatusOr<bool> Decide(Write& write);
  absl::StatusOr<bool> DecideRegister(Write& write, absl::FunctionRef<absl::Status()> read_present,
                                      std::optional<StoredInstance>& present, ReadCheck read_check);
  absl::StatusOr<bool> DecideRemoval(Write& write, const Lease& lease, uint64_t now_ms) const;
  // Counts a new instance that is on its way; false when there is no room for it. The place is
  // given back when the write is decided anew or done.
  bool TakePlace(Write& write);
  storage::Unit EnsureService(const Write& write) const;
  bool NeedsService(const Write& write) const;
  // What SetMaintenance, SetServiceSettings and RewriteStates ask for.
  absl::StatusOr<bool> DecideOperator(Write& write, absl::FunctionRef<absl::Status()> read_present,
                                      const std::optional<StoredInstance>& present);
  absl::StatusOr<bool> DecideMarking(Write& write, const std::optional<StoredInstance>& present);
  absl::StatusOr<bool> DecideSettings(Write& write);
  // Creates the service's record, if there is none.
  storage::Unit NewService(std::string_view service_key, const std::string& display,
                           const SettingsPtr& settings) const;
  // Rewrites those of a node whose state isn't what it has to be.
  struct Sweep;
  void SweepPart(const std::shared_ptr<Sweep>& sweep);
  // Gives instances the state that they have to have. What fails is tried again later.
  struct Rewriting;
  void RewriteStates(std::vector<std::string> keys, std::function<void(absl::Status)> done);
  void RewritePart(const std::shared_ptr<Rewriting>& all);
  // Of instances whose state was found to be wrong, until they are to wait.
  void RewriteStrays();
  // Mostly one.
  using Writes = absl::InlinedVector<std::shared_ptr<Write>, 1>;
  void BeginEdit(storage::InstanceKey names, uint64_t incarnation, Edit edit, EditDone done);
  // The store after `outcome`, or later.
  void SetRevision(const Outcome& outcome, v1::Revision* to) const;
  void Begin(std::shared_ptr<Write> write);
  void BeginMany(Writes writes);
  void AttemptMany(Writes writes);
  void Settle(const Writes& writes, std::vector<storage::UnitResult> results);
  // Tells the caller, and ends the write's turn: whose turn it is then is appended to `next`.
  void Finish(Write& write, absl::Status status, uint64_t seq, Writes& next);
  std::shared_ptr<Write> MakeRemoval(const LeasePtr& lease);
  // A removal was settled.
  void Removed(const Lease& lease, const absl::Status& status);
  void HoldOverdue(const Lease& lease);
  void TellOfReport(std::string_view key, const v1::ReportHealthRequest& report) const;
  // As LeaseJudge's.
  std::optional<absl::Duration> MayGo(const Lease& lease);
  // How many leases may leave in a turn that begins now.
  size_t SizeOfTurn();
  std::deque<std::string> FindUpkeep() const;
  // True: the service needs more.
  bool MaintainService(const std::string& service_key);
  bool Prune(const ServiceInfo& info, uint64_t now_ms);
  void ProposeUpkeep(storage::Unit unit);
  void Forget(const ServiceInfo& info, uint64_t now_ms);

  storage::Engine& engine_;
  Catalog& catalog_;
  LeaseTable& leases_;
  HeldSet& held_;
  const base::Clock& clock_;
  const RegistryOptions options_;
  std::unique_ptr<Turns> turns_;
  ReportListener report_listener_;
  std::atomic<size_t> removals_under_way_{0};
  // Of ExpireDue, for its thread.
  LeaseJudge judge_;
  size_t kept_in_a_row_ = 0;
  base::SteadyTime last_turn_;
  bool herd_ = false;     // the last turn was full
  size_t most_due_ = 0;   // in this herd, since it was last given time
  size_t least_due_ = 0;  // since then
  base::SteadyTime herd_gone_by_{};
  std::atomic<uint64_t> creating_{0};  // new instances on their way: they count for the limit
  // Steady, in us: when to try a removal again after the store refused one. 0 = it took the last.
  std::atomic<int64_t> try_removal_at_us_{0};
  // Of MaintainPart, for its thread: services that wait for their turn, and for another one, and
  // how many are a part.
  std::deque<std::string> upkeep_;
  std::deque<std::string> unfinished_upkeep_;
  size_t upkeep_part_ = 0;
  base::SteadyTime next_upkeep_{};
  std::atomic<bool> upkeep_refused_{false};
  std::atomic<int64_t> rewrite_strays_at_us_{0};  // steady: not before
};

}  // namespace muster::core
